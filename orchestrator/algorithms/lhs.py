"""One Latin hypercube of the whole budget (McKay, Beckman & Conover 1979).

Every axis is cut into `budget` strata and each holds one point; the guarantee is the whole design's, which is
why it is drawn once and not point by point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import qmc

from orchestrator.algorithms.planned import Planned
from orchestrator.space import SearchSpace


class LatinHypercube(Planned):
    """The design is drawn at creation and written down with the state: it needs no generator afterwards."""

    def __init__(self, space: SearchSpace, *, seed: int, budget: int, capacity: int) -> None:
        super().__init__(space, seed=seed, budget=budget, capacity=capacity)
        for row in qmc.LatinHypercube(space.dimension, rng=np.random.default_rng(seed)).random(budget):
            self._append(tuple(row.tolist()))

    def _plan(self) -> None:
        """Everything is planned already."""

    def _state(self) -> dict[str, Any]:
        return {}

    def _restore(self, state: dict[str, Any]) -> None:
        """Nothing but the points."""
