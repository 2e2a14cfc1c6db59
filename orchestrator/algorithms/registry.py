"""The search algorithms by name. An algorithm's own module, and torch behind it, loads when one is created.

>>> check_options("bamsoo", {"eta": 1})
['bamsoo: eta = 1: outside (0, 1): all bounds hold together with probability 1 − eta']
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from orchestrator.algorithms.base import Algorithm
from orchestrator.algorithms.options import (
    BaMSOOOptions,
    BOOptions,
    FullSweepOptions,
    MADSOptions,
    Options,
    SOOOptions,
    TPEOptions,
)
from orchestrator.errors import InputError, near
from orchestrator.space import SearchSpace

__all__ = ["ALGORITHMS", "Algorithm", "Entry", "check_options", "create"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One algorithm of the registry.

    Attributes:
        name: as a study file names it.
        description: one line for people.
        options: the model of its options.
        implementation: "module:Class", the module within this package; built as
            `Class(space, seed=…, budget=…, capacity=…, **options)` with every option given.
        learns: whether scores of other studies help it.
        extra: of this package, that brings the library it needs; None: it needs none.
    """

    name: str
    description: str
    options: type[Options]
    implementation: str
    learns: bool = False
    extra: str | None = None

    @property
    def defaults(self) -> dict[str, Any]:
        """Each option's default; None: the algorithm decides."""
        return self.options().model_dump()


ALGORITHMS: Mapping[str, Entry] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Entry(
                "fullsweep",
                "BaMSOO's tree, every round filled from the same Gaussian process: the default",
                FullSweepOptions,
                "tree.fullsweep:FullSweep",
                learns=True,
            ),
            Entry(
                "bo", "Gaussian process and expected improvement (BoTorch)", BOOptions, "bo:BO", learns=True
            ),
            Entry(
                "tpe",
                "tree-structured Parzen estimator (Optuna; NNI)",
                TPEOptions,
                "wrapped.tpe:TPE",
                learns=True,
                extra="tpe",
            ),
            Entry(
                "mads",
                "mesh adaptive direct search (NOMAD 4)",
                MADSOptions,
                "wrapped.mads:MADS",
                learns=True,
                extra="mads",
            ),
            Entry("sobol", "a scrambled Sobol sequence", Options, "designs.sobol:Sobol"),
            Entry("grid", "the full grid that fits the budget", Options, "designs.grid:Grid"),
            Entry("lhs", "one Latin hypercube of the whole budget", Options, "designs.lhs:LatinHypercube"),
            Entry("random", "independent uniform points", Options, "designs.uniform:Uniform"),
            Entry("soo", "simultaneous optimistic optimization (Munos 2011)", SOOOptions, "tree.soo:SOO"),
            Entry(
                "bamsoo",
                "SOO that skips what a Gaussian process rules out (Wang et al. 2014)",
                BaMSOOOptions,
                "tree.bamsoo:BaMSOO",
                learns=True,
            ),
        )
    }
)


def create(
    name: str, space: SearchSpace, *, seed: int, budget: int, capacity: int, **options: Any
) -> Algorithm:
    """Return a new algorithm.

    Args:
        name: a key of `ALGORITHMS`.
        space: what is searched.
        seed: the only source of randomness, at least 0.
        budget: suggestions over the whole study.
        capacity: how many evaluations the cluster runs at once.
        **options: fields of the entry's option model.

    Raises:
        InputError: every problem of name, options, budget, capacity and seed; a library is not installed.
    """
    problems = check_options(name, options)
    for argument, value, least in (("budget", budget, 1), ("capacity", capacity, 1), ("seed", seed, 0)):
        if not isinstance(value, Integral) or value < least:
            problems.append(f"{argument} = {value!r}: must be a whole number, at least {least}")
    if problems:
        raise InputError(problems)
    entry = ALGORITHMS[name]
    module, attribute = entry.implementation.split(":")
    try:
        build = getattr(importlib.import_module(f"orchestrator.algorithms.{module}"), attribute)
    except ModuleNotFoundError as missing:
        if entry.extra is None or (missing.name or "").startswith("orchestrator"):
            raise
        raise InputError(
            f"{name} needs {missing.name}, which is not installed: pip install 'orchestrator[{entry.extra}]'"
        ) from missing
    every = entry.options.model_validate(_plain(options)).model_dump()
    algorithm = build(space, seed=seed, budget=budget, capacity=capacity, **every)
    assert isinstance(algorithm, Algorithm)
    return algorithm


def check_options(name: str, options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with an algorithm's name and options, a line each; empty if nothing is."""
    entry = ALGORITHMS.get(name)
    if entry is None:
        return [f"no algorithm {name!r}{near(name, ALGORITHMS)}"]
    try:
        entry.options.model_validate(_plain(options))
    except ValidationError as error:
        return [_line(entry, problem["type"], problem) for problem in error.errors()]
    return []


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with the scalars of numpy and torch as Python's own."""
    return {k: v.item() if getattr(v, "ndim", None) == 0 else v for k, v in options.items()}


def _line(entry: Entry, kind: str, problem: Mapping[str, Any]) -> str:
    option = ".".join(str(part) for part in problem["loc"])
    if kind == "extra_forbidden":
        known = near(option, entry.options.model_fields) or ": it takes none"
        return f"{entry.name}: no option {option!r}{known}"
    text = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    expected = text if kind == "value_error" else f"must be {text}"
    return f"{entry.name}: {option} = {problem['input']!r}: {expected}"
