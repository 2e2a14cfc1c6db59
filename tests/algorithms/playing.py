"""A study without a cluster: ask, score, tell, until nothing is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from orchestrator.algorithms import Algorithm, Observation, Suggestion, create
from orchestrator.contract.synthetic import Function
from orchestrator.space import Point, SearchSpace
from orchestrator.space.space import Float


@dataclass
class Played:
    """What was asked, in order, and the sizes of the batches."""

    points: list[Point] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    @property
    def best(self) -> npt.NDArray[np.float64]:
        """Best score so far: (n,)."""
        return np.maximum.accumulate([-np.inf if score is None else score for score in self.scores])


def play(algorithm: Algorithm, score: Callable[[Suggestion], float | None], *, limit: int = 1000) -> Played:
    played = Played()
    while batch := algorithm.ask(limit):
        scores = [score(suggestion) for suggestion in batch]
        algorithm.tell([Observation(s.id, value) for s, value in zip(batch, scores, strict=True)])
        played.points += [suggestion.point for suggestion in batch]
        played.scores += scores
        played.batches.append(len(batch))
    return played


def space_of(function: Function) -> SearchSpace:
    return SearchSpace(
        {name: Float(*side) for name, side in zip(function.names, function.bounds, strict=True)}
    )


def minimize(name: str, function: Function, *, budget: int, seed: int = 0, **options: object) -> Played:
    """Play a named algorithm on a function, whose negative is the score."""
    space = space_of(function)
    algorithm = create(name, space, seed=seed, budget=budget, capacity=8, **options)
    return play(algorithm, lambda s: -function([float(value) for value in space.decode(s.point).values()]))
