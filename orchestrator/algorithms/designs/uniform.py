"""Independent uniform points: what any search has to beat (Bergstra & Bengio 2012)."""

from __future__ import annotations

from typing import Any

import numpy as np

from orchestrator.algorithms.planned import Planned
from orchestrator.space import SearchSpace


class Uniform(Planned):
    """Points are drawn one by one as they are asked for."""

    def __init__(self, space: SearchSpace, *, seed: int, budget: int, capacity: int) -> None:
        super().__init__(space, seed=seed, budget=budget, capacity=capacity)
        self._generator = np.random.default_rng(seed)

    def _plan(self) -> None:
        self._append(self.space.sample(self._generator, 1)[0])

    def _state(self) -> dict[str, Any]:
        return {"generator": self._generator.bit_generator.state}

    def _restore(self, state: dict[str, Any]) -> None:
        self._generator.bit_generator.state = state["generator"]
