"""The contract every search algorithm keeps.

An algorithm lives in the unit cube and maximizes. It is asked for a batch, told what became of it, and can be
written down and continued at any moment:

    algorithm = create("soo", space, seed=1, budget=50, capacity=8)
    while batch := algorithm.ask(8):
        algorithm.tell([Observation(s.id, score(space.decode(s.point))) for s in batch])

Laws, tested for every algorithm by `tests/algorithms/test_contract.py`:

1. `ask(limit)` returns at most `limit` suggestions, ids consecutive over the study, points in the unit cube,
   and none that `space.feasible` refuses.
2. Over a study it suggests at most `budget` points, and exactly `budget` if it is asked long enough and every
   suggestion is told. Only an algorithm that never repeats a configuration ends sooner: when none is left.
3. An empty batch while something is pending means "nothing to ask before more is told"; with nothing pending
   it means the search is over.
4. The order of observations, within a `tell` or over several, changes nothing that follows.
5. `load(dump())` continues exactly, in another process too; `dump()` is JSON with finite numbers.
6. Equal seeds give equal studies, whatever order jobs finish in, and the split into batches of any limit
   changes nothing either. With the option `asynchronous` a suggestion may depend on what was told before it
   was asked for, so there the same holds of equal histories: the same asks, and the same told before each.
7. A failed suggestion (score None) is survived, any number of them.
8. What was enqueued is suggested, once, in its order; it counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.space import Point, SearchSpace


class Algorithm(ABC):
    """A batch search by ask and tell; see the module for its laws."""

    def __init__(self, space: SearchSpace, *, seed: int, budget: int, capacity: int) -> None:
        """Args:
        space: decoded only to know where two points are the same configuration.
        seed: the only source of randomness.
        budget: suggestions over the whole study, at least 1.
        capacity: how many evaluations the cluster runs at once.
        """
        self.space = space
        self.seed = seed
        self.budget = budget
        self.capacity = capacity

    @abstractmethod
    def ask(self, limit: int, *, budget: int | None = None) -> list[Suggestion]:
        """Return the next suggestions.

        Args:
            limit: at most so many, at least 1.
            budget: suggestions over the whole study, if that has become another than it was: scores that are
                shared cost nothing, so a master may ask for as many more.

        Raises:
            ValueError: a limit below 1.
        """

    @abstractmethod
    def tell(self, observations: Sequence[Observation]) -> None:
        """Take in what became of pending suggestions, any number of them in any order.

        Raises:
            ValueError: an id that is not pending, or a score that is not finite.
        """

    @abstractmethod
    def enqueue(self, points: Sequence[Point]) -> None:
        """Suggest these points next, after what is planned already: a default, a person's guess.

        Raises:
            ValueError: a point outside the unit cube, of another dimension, or that breaks a constraint.
        """

    @abstractmethod
    def learn(self, known: Sequence[KnownScore]) -> None:
        """Take in what was scored elsewhere, before the first `ask`; an algorithm without a model ignores it.

        Raises:
            ValueError: as `enqueue`, or a score that is not finite.
        """

    @abstractmethod
    def dump(self) -> dict[str, Any]:
        """Return the whole state as JSON values, the random generator included."""

    @abstractmethod
    def load(self, state: dict[str, Any]) -> None:
        """Continue from what `dump` of an algorithm with the same arguments returned.

        Raises:
            ValueError: it is the state of another search, or of one over other parameters.
        """


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A point an algorithm wants scored.

    Attributes:
        id: the algorithm's own number for it: 0, 1, 2, … in the order of asking.
        point: (d,) in the unit cube.
        note: what a person may want to know of it (tree depth, why it was chosen); JSON values.
    """

    id: int
    point: Point
    note: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """What became of a suggestion.

    Attributes:
        id: the suggestion's id.
        score: to be maximized; None if the evaluation failed.
        stderr: standard error of the score, None if unknown.
    """

    id: int
    score: float | None
    stderr: float | None = None


@dataclass(frozen=True, slots=True)
class KnownScore:
    """A score from elsewhere: an earlier study of the same space.

    Attributes:
        point: (d,) in the unit cube.
        score: to be maximized.
        stderr: standard error of the score, None if unknown.
    """

    point: Point
    score: float
    stderr: float | None = None
