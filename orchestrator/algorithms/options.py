"""What each algorithm may be told besides seed, budget and capacity, by a study file's `[algorithm]` section.

Nothing here imports an algorithm, so a study file is checked without loading torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Kernel = Literal["matern52", "rbf"]
HMax = Literal["none", "sqrt"]
Rule = Literal["bamsoo", "imgpo"]


class Options(BaseModel):
    """Base: every field has a default, unknown names are refused, and nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _probability(eta: float) -> float:
    if not 0 < eta < 1:
        raise ValueError("outside (0, 1): all bounds hold together with probability 1 − eta")
    return eta


class SOOOptions(Options):
    """Options of `soo`.

    Attributes:
        h_max: "none", or "sqrt" for the published algorithm: depth at most √(expansions).
        sequential: wait for the children of one depth before choosing at the next, at most two evaluations at
            a time. Left out: as published, so with "sqrt" only.
    """

    h_max: HMax = "none"
    sequential: bool | None = None


class BaMSOOOptions(Options):
    """Options of `bamsoo`.

    Attributes:
        eta: η of B_N.
        beta: multiplies B_N; η itself moves it by a few percent only.
        kernel: of the Gaussian process.
        h_max: "none", or "sqrt" for depth at most √(expansions).
        rule: what a node carries that was not worth evaluating: "bamsoo", its lower bound; "imgpo", its upper
            bound, and it is evaluated before it is divided.
        max_free_sweeps: after so many sweeps in a row without an evaluation one is forced.
    """

    eta: Annotated[float, AfterValidator(_probability)] = 0.05
    beta: Annotated[float, Field(gt=0)] = 1.0
    kernel: Kernel = "matern52"
    h_max: HMax = "none"
    rule: Rule = "bamsoo"
    max_free_sweeps: Annotated[int, Field(ge=1)] = 10


class FullSweepOptions(Options):
    """Options of `fullsweep`.

    Attributes:
        asynchronous: suggest whenever a host is free, from what is known then, instead of in rounds.
        eta: η of B_N.
        beta: multiplies B_N.
        share: of each round's slots that the tree's centers may take.
        fantasies: samples of the outcomes of pending evaluations.
        n_init: points of the first design, less what was learnt elsewhere; left out: the capacity, at
            least 6.
        max_free_sweeps: sweeps in a row without a center before the round is filled without one.
    """

    asynchronous: bool = False
    eta: Annotated[float, AfterValidator(_probability)] = 0.05
    beta: Annotated[float, Field(gt=0)] = 0.3
    share: Annotated[float, Field(ge=0, le=1)] = 0.25
    fantasies: Annotated[int, Field(ge=1)] = 16
    n_init: Annotated[int, Field(ge=2)] | None = None
    max_free_sweeps: Annotated[int, Field(ge=1)] = 10


class BOOptions(Options):
    """Options of `bo`.

    Attributes:
        asynchronous: suggest whenever a host is free, from what is known then, instead of in rounds.
        batch: suggestions of a round; left out: the capacity. 1 is the published, sequential search.
        n_init: points of the Latin hypercube it starts from, less what was learnt elsewhere.
        kernel: of the Gaussian process; "rbf" is BoTorch's default.
    """

    asynchronous: bool = False
    batch: Annotated[int, Field(ge=1)] | None = None
    n_init: Annotated[int, Field(ge=1)] = 10
    kernel: Kernel = "rbf"


class TPEOptions(Options):
    """Options of `tpe`.

    Attributes:
        engine: "optuna", multivariate and told of pending trials; or "nni", the published one, in an
            interpreter of its own that the environment names: `python3 -m venv nni &&
            nni/bin/pip install nni==3.0 && export ORCHESTRATOR_NNI=$PWD/nni/bin/python`.
        asynchronous: suggest whenever a host is free, from what is known then, instead of in rounds.
        n_init: uniform random points before the estimator is used.
    """

    engine: Literal["optuna", "nni"] = "optuna"
    asynchronous: bool = False
    n_init: Annotated[int, Field(ge=1)] = 10


class MADSOptions(Options):
    """Options of `mads`.

    Attributes:
        n_init: points of the first design, and of each after a mesh is exhausted; left out: the capacity, at
            least 6.
        sequential: as published: NOMAD's own defaults from the center, an evaluation at a time.
    """

    n_init: Annotated[int, Field(ge=1)] | None = None
    sequential: bool = False
