"""An algorithm that is made when it is first asked: a look at a study that asks nothing loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.algorithms import Algorithm, KnownScore, Observation, Suggestion
from orchestrator.config import StudySpec
from orchestrator.space import Point


class LazyAlgorithm(Algorithm):
    """Stands for an algorithm, and keeps what it is told until it is asked."""

    def __init__(self, make: Callable[[], Algorithm], spec: StudySpec) -> None:
        """`make` returns the study's algorithm, new; its errors come at the first `ask` or `dump`."""
        super().__init__(spec.space, seed=spec.seed, budget=spec.most_evaluations, capacity=1)
        self._make = make
        self._kept: list[Callable[[Algorithm], None]] = []
        self._made: Algorithm | None = None

    def ask(self, limit: int, *, budget: int | None = None) -> list[Suggestion]:
        """Make the algorithm if need be, and ask it."""
        return self._algorithm.ask(limit, budget=budget)

    def tell(self, observations: Sequence[Observation]) -> None:
        """Tell the algorithm, now or when it is made."""
        self._keep(lambda algorithm: algorithm.tell(observations))

    def enqueue(self, points: Sequence[Point]) -> None:
        """Enqueue points, now or when the algorithm is made."""
        self._keep(lambda algorithm: algorithm.enqueue(points))

    def learn(self, known: Sequence[KnownScore]) -> None:
        """Hand over scores from elsewhere, now or when the algorithm is made."""
        self._keep(lambda algorithm: algorithm.learn(known))

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a state, now or when the algorithm is made."""
        self._keep(lambda algorithm: algorithm.load(state))

    def dump(self) -> dict[str, Any]:
        """Make the algorithm if need be, and return its state."""
        return self._algorithm.dump()

    def _keep(self, call: Callable[[Algorithm], None]) -> None:
        if self._made is None:
            self._kept.append(call)
        else:
            call(self._made)

    @property
    def _algorithm(self) -> Algorithm:
        if self._made is None:
            self._made = self._make()
            for call in self._kept:
                call(self._made)
        return self._made
