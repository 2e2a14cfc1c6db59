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
