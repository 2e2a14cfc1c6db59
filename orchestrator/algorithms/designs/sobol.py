"""A scrambled Sobol sequence (Sobol 1967; Owen 1998): evenly spread however many points are taken of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import qmc

from orchestrator.algorithms.planned import Planned
from orchestrator.space import SearchSpace

SKIPS = 2**14  # places of the sequence passed over in a row, in search of a feasible one


class Sobol(Planned):
    """The place in the sequence is all there is to remember."""

    def __init__(self, space: SearchSpace, *, seed: int, budget: int, capacity: int) -> None:
        super().__init__(space, seed=seed, budget=budget, capacity=capacity)
        self._restore({"place": 0})

    def _plan(self) -> None:
        for _ in range(SKIPS):
            (row,) = self._engine.random(1).tolist()
            if self.space.feasible(point := tuple(row)):
                self._append(point)
                return
        generator = np.random.default_rng([self.seed, len(self._points)])
        self._append(self.space.sample(generator, 1)[0])

    def _state(self) -> dict[str, Any]:
        return {"place": self._engine.num_generated}

    def _restore(self, state: dict[str, Any]) -> None:
        self._engine = qmc.Sobol(self.space.dimension, rng=np.random.default_rng(self.seed))
        if state["place"]:
            self._engine.fast_forward(state["place"])
