"""The half of the contract that all algorithms share: numbering, budget, pending, told, written down.

An algorithm plans points in an order of its own, and they are handed out in that order as they are asked
for. So the limit of an `ask` cannot change what is searched (law 6); observations are kept by id, so neither
can the order in which they arrive (law 4).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.algorithms.base import Algorithm, KnownScore, Observation, Suggestion
from orchestrator.space import Point, SearchSpace


class Planned(Algorithm):
    """An algorithm that plans points ahead.

    Subclasses give `_plan`; and `_state` and `_restore`, if they keep more than points and observations.
    """

    def __init__(self, space: SearchSpace, *, seed: int, budget: int, capacity: int) -> None:
        super().__init__(space, seed=seed, budget=budget, capacity=capacity)
        self._points: list[Point] = []  # id -> point, planned or asked
        self._notes: dict[int, dict[str, Any]] = {}  # id -> note, until asked
        self._asked = 0  # ids below it are out
        self._told: dict[int, Observation] = {}
        self._enqueued: list[int] = []  # ids that are not of the algorithm's own choosing
        self._known: list[KnownScore] = []

    @abstractmethod
    def _plan(self) -> None:
        """Plan some more points by `_append`; none if that has to wait for observations, or at the end."""

    def _state(self) -> dict[str, Any]:
        """What the subclass has to write down beside points and observations, as JSON values: nothing."""
        return {}

    def _restore(self, state: dict[str, Any]) -> None:
        """Take back what `_state` gave; points and observations are restored already."""

    def _append(self, point: Point, **note: Any) -> int:
        """Plan `point` and return its id."""
        identity = len(self._points)
        self._points.append(point)
        self._notes[identity] = note
        return identity

    def enqueue(self, points: Sequence[Point]) -> None:
        """Plan these points; they are handed out after what is planned already."""
        for point in points:
            self._check(point)
        self._enqueued += [self._append(tuple(point), enqueued=True) for point in points]

    def learn(self, known: Sequence[KnownScore]) -> None:
        """Keep scores from elsewhere, for subclasses that have a model."""
        if self._asked:
            raise ValueError("learn before the first ask: what follows may depend on it")
        new = []
        for one in known:
            self._check(one.point)
            score, stderr = _score(one.score, one.stderr, f"point {one.point}")
            if score is None:
                raise ValueError(f"point {one.point}: None is no score: leave out what failed elsewhere")
            new.append(KnownScore(one.point, score, stderr))
        self._known += new

    def _check(self, point: Point) -> None:
        if len(point) != self.space.dimension or not all(0 <= x <= 1 for x in point):
            raise ValueError(f"{point} is no point of the unit cube in {self.space.dimension} dimensions")
        if not self.space.feasible(point):
            raise ValueError(f"{self.space.decode(point)} breaks a constraint of the space")

    def _scored(self) -> list[tuple[Point, float, float | None]]:
        """What has a score, as a model should see it: snapped point, score, its error; told ones first."""
        told = ((self._points[i], o.score, o.stderr) for i, o in sorted(self._told.items()))
        scored = [(point, score, stderr) for point, score, stderr in told if score is not None]
        scored += [(one.point, one.score, one.stderr) for one in self._known]
        return [(self.space.snap(point), score, stderr) for point, score, stderr in scored]

    @property
    def _settled(self) -> bool:
        """True if everything planned was asked and told."""
        return len(self._told) == len(self._points)

    @property
    def _is_told(self) -> bool:
        """True if everything asked was told, and nothing but what was enqueued waits to be asked."""
        waiting = range(self._asked, len(self._points))
        return len(self._told) == self._asked and set(waiting) <= set(self._enqueued)

    def ask(self, limit: int, *, budget: int | None = None) -> list[Suggestion]:
        """Hand out what is planned, in its order; plan more where that is not enough."""
        if limit < 1:
            raise ValueError(f"limit = {limit}: ask for at least one suggestion")
        self.budget = self.budget if budget is None else budget
        wanted = min(limit, self.budget - self._asked)
        planned = -1
        while planned < len(self._points) < self._asked + wanted:
            planned = len(self._points)
            self._plan()
        first, self._asked = self._asked, min(self._asked + wanted, len(self._points))
        return [Suggestion(i, self._points[i], self._notes.pop(i)) for i in range(first, self._asked)]

    def tell(self, observations: Sequence[Observation]) -> None:
        """Keep observations by their suggestion's id."""
        new: dict[int, Observation] = {}
        for one in observations:
            if not 0 <= one.id < self._asked or one.id in self._told or one.id in new:
                raise ValueError(f"suggestion {one.id} is not pending")
            score, stderr = _score(one.score, one.stderr, f"suggestion {one.id}")
            new[one.id] = Observation(one.id, score, stderr)
        self._told.update(new)

    def dump(self) -> dict[str, Any]:
        """Return points, notes, observations and what `_state` gives, as JSON values."""
        return {
            "search": type(self).__name__,
            "axes": list(self.space.names),
            "points": [list(point) for point in self._points],
            "notes": [self._notes[i] for i in range(self._asked, len(self._points))],
            "told": [[o.id, o.score, o.stderr] for _, o in sorted(self._told.items())],
            "enqueued": list(self._enqueued),
            "known": [[list(one.point), one.score, one.stderr] for one in self._known],
            **self._state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from what `dump` returned."""
        mine = type(self).__name__, list(self.space.names)
        theirs = state.get("search", mine[0]), state.get("axes", mine[1])  # earlier versions do not say
        if theirs != mine:
            said, here = (f"{search} over {', '.join(axes)}" for search, axes in (theirs, mine))
            raise ValueError(f"this is the state of {said}; here is {here}")
        self._points = [tuple(point) for point in state["points"]]
        self._asked = len(self._points) - len(state["notes"])
        self._notes = {self._asked + i: note for i, note in enumerate(state["notes"])}
        self._told = {i: Observation(i, score, stderr) for i, score, stderr in state["told"]}
        self._enqueued = list(state["enqueued"])
        self._known = [KnownScore(tuple(point), score, stderr) for point, score, stderr in state["known"]]
        self._restore(state)


def _score(score: object, stderr: object, what: str) -> tuple[float | None, float | None]:
    """A score and its standard error as floats, whatever library they come from.

    Raises:
        ValueError: one of them is no number, or not finite, or the error is negative.
    """
    numbers = []
    for value in (score, stderr):
        try:
            number = None if value is None else float(value)  # type: ignore[arg-type] # what is none, says so
        except (TypeError, ValueError, RuntimeError):  # several elements of an array or a tensor
            number = math.nan
        if isinstance(value, str | bytes) or (number is not None and not math.isfinite(number)):
            raise ValueError(f"{what}: {value!r} is no score; a failure has None")
        numbers.append(number)
    if numbers[1] is not None and numbers[1] < 0:
        raise ValueError(f"{what}: stderr = {stderr} is negative")
    return numbers[0], numbers[1]


def waiting(state: Mapping[str, Any]) -> int:
    """Return how many suggestions a search, written down as `state`, has planned and not handed out."""
    return len(state["notes"])
