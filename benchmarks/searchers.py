"""Ours and peers behind one face: configurations out, scores and failures in.

A method is named as on the command line: `fullsweep`, `bo:n_init=6,kernel=matern52`, `ax:asynchronous=true`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.algorithms import ALGORITHMS, Observation, create
from orchestrator.contract.assignment import Configuration
from orchestrator.space import SearchSpace


class Searcher(Protocol):
    """Maximizes. Ids are the searcher's own and count from 0 in the order of asking."""

    def ask(self, limit: int) -> list[Configuration]:
        """Return at most `limit` configurations; none: more has to be told first, or the search is over."""

    def tell(self, observations: Sequence[Observation]) -> None:
        """Take in what became of pending configurations."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What every searcher is built for: see `orchestrator.algorithms.create`."""

    space: SearchSpace
    seed: int
    budget: int
    capacity: int


PEERS: Mapping[str, str] = {
    "scipy-sobol": "peers_scipy:SobolSequence",
    "scipy-de": "peers_scipy:DifferentialEvolution",
    "botorch-qlogei": "peers_botorch:QLogEI",
    "optuna-tpe": "peers_optuna:TPE",
    "optuna-gp": "peers_optuna:GP",
    "ax": "peers_ax:Ax",
    "smac": "peers_smac:SMAC",
}


@dataclass(frozen=True, slots=True)
class Method:
    """A searcher by name, and what it is told besides its setting.

    Attributes:
        text: as given on the command line.
        asynchronous: one is asked whenever a host is free, instead of a batch when all are.
    """

    text: str
    name: str
    options: dict[str, Any]
    asynchronous: bool

    @classmethod
    def parse(cls, text: str) -> Method:
        """Read "name" or "name:option=value,…", the values as JSON or else as words.

        Raises:
            ValueError: no such method, or an option without a value.
        """
        name, _, given = text.partition(":")
        if name not in ALGORITHMS and name not in PEERS:
            raise ValueError(f"no method {name!r} (known: {', '.join([*ALGORITHMS, *PEERS])})")
        options: dict[str, Any] = {}
        for item in filter(None, given.split(",")):
            option, equals, value = item.partition("=")
            if not equals:
                raise ValueError(f"{text}: {item!r} is not option=value")
            options[option] = _value(value)
        asynchronous = bool(options.get("asynchronous", False))
        if name in PEERS or "asynchronous" not in ALGORITHMS[name].options.model_fields:
            options.pop("asynchronous", None)
        return cls(text, name, options, asynchronous)

    def build(self, setting: Setting) -> Searcher:
        """Return a new searcher.

        Raises:
            ImportError: what it needs is not installed.
            InputError: options that it does not have.
        """
        if self.name in ALGORITHMS:
            return Ours(self.name, setting, self.options)
        module, attribute = PEERS[self.name].split(":")
        build: Callable[..., Searcher] = getattr(importlib.import_module(f"benchmarks.{module}"), attribute)
        return build(setting, **self.options)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


class Ours:
    """One of this project's algorithms."""

    def __init__(self, name: str, setting: Setting, options: Mapping[str, Any]) -> None:
        self._space = setting.space
        self._algorithm = create(
            name,
            setting.space,
            seed=setting.seed,
            budget=setting.budget,
            capacity=setting.capacity,
            **options,
        )

    def ask(self, limit: int) -> list[Configuration]:
        return [self._space.decode(suggestion.point) for suggestion in self._algorithm.ask(limit)]

    def tell(self, observations: Sequence[Observation]) -> None:
        self._algorithm.tell(observations)
