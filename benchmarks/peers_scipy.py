"""SciPy as a peer: a Sobol sequence, and differential evolution with a population of q.

`differential_evolution` calls its objective and is not asked. With `workers` a map of ours and deferred
updating it hands over one whole generation at a time, which is the batch; it runs in a thread that waits
for scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from scipy.optimize import differential_evolution
from scipy.stats import qmc

from benchmarks.searchers import Setting
from orchestrator.algorithms import Observation
from orchestrator.contract.assignment import Configuration
from orchestrator.space import Point

POPULATION = 5  # the least that SciPy takes


class SobolSequence:
    """Scrambled; it learns from nothing."""

    def __init__(self, setting: Setting) -> None:
        self._space = setting.space
        self._sequence = qmc.Sobol(setting.space.dimension, rng=np.random.default_rng(setting.seed))
        self._left = setting.budget

    def ask(self, limit: int) -> list[Configuration]:
        size = min(limit, self._left)
        self._left -= size
        return [self._space.decode(tuple(self._sequence.random(1)[0].tolist())) for _ in range(size)]

    def tell(self, observations: Sequence[Observation]) -> None:
        pass


class DifferentialEvolution:
    """SciPy's defaults but for the population: Latin hypercube of q, and every generation is one of q.

    A failure costs +∞, as its documentation has it for infeasible points. It never converges early (tol = 0).
    """

    def __init__(self, setting: Setting) -> None:
        self._space, self._left = setting.space, setting.budget
        self._generations: SimpleQueue[list[Point]] = SimpleQueue()
        self._costs: SimpleQueue[list[float]] = SimpleQueue()
        self._queued: list[Point] = []
        self._size = self._asked = 0
        self._told: dict[int, float] = {}
        population = max(setting.capacity, POPULATION)
        design = qmc.LatinHypercube(setting.space.dimension, rng=np.random.default_rng(setting.seed))
        options: dict[str, Any] = {
            "bounds": [(0.0, 1.0)] * setting.space.dimension,
            "init": design.random(population),
            "rng": np.random.default_rng(setting.seed),
            "maxiter": setting.budget,
            "tol": 0,
            "polish": False,
            "updating": "deferred",
            "workers": self._score,
        }
        Thread(target=differential_evolution, args=(_never_called,), kwargs=options, daemon=True).start()

    def _score(self, _: Callable[..., float], points: Iterable[Any]) -> list[float]:
        """Called in the other thread with each generation."""
        self._generations.put([tuple(np.clip(point, 0, 1).tolist()) for point in points])
        return self._costs.get()

    def ask(self, limit: int) -> list[Configuration]:
        if not self._queued and len(self._told) == self._size:
            if self._size:
                self._costs.put([cost for _, cost in sorted(self._told.items())])
            self._queued, self._told = self._generations.get(), {}
            self._size = len(self._queued)
        size = min(limit, len(self._queued), self._left)
        batch, self._queued = self._queued[:size], self._queued[size:]
        self._left -= size
        return [self._space.decode(point) for point in batch]

    def tell(self, observations: Sequence[Observation]) -> None:
        self._told.update((o.id, math.inf if o.score is None else -o.score) for o in observations)


def _never_called(_: Any) -> float:
    raise AssertionError("the generations are scored outside")
