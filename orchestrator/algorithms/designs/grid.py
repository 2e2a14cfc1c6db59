"""The full factorial grid that fits the budget, in a random order; random points spend what it leaves.

Each axis gets as many evenly spaced levels as the others, but a choice has its options, and an integer at
most its values. A level stands in the middle of its share of the axis. The finest such grid within the
budget is taken; what is left of the budget goes to levels of single axes, the first parameter first.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from orchestrator.algorithms.planned import Planned
from orchestrator.errors import InputError
from orchestrator.space import Point, SearchSpace
from orchestrator.space.sampling import fresh
from orchestrator.space.space import Choice


class Grid(Planned):
    """The whole grid is planned when the first point is asked for."""

    def __init__(self, space: SearchSpace, *, seed: int, budget: int, capacity: int) -> None:
        super().__init__(space, seed=seed, budget=budget, capacity=capacity)
        self._levels(budget)  # a budget too small is an error now, not when the study runs

    def _plan(self) -> None:
        generator = np.random.default_rng([self.seed, len(self._points)])
        if len(self._points) == len(self._enqueued):  # the one grid is not planned yet
            points = self._grid(self._levels(self.budget))
            for i in generator.permutation(len(points)):
                self._append(points[i])
            return
        seen = {self.space.snap(point) for point in self._points}
        if len(seen) != self.space.cardinality:
            self._append(fresh(self.space, seen, generator))

    def _levels(self, budget: int) -> list[int]:
        """How many levels each axis has.

        Raises:
            InputError: the choices alone have more combinations than the budget.
        """
        parameters = self.space.parameters.values()
        most = [parameter.cardinality or budget for parameter in parameters]
        levels = [len(p.options) if isinstance(p, Choice) else 1 for p in parameters]
        if math.prod(levels) > budget:
            raise InputError(
                f"grid: the choices alone have {math.prod(levels)} combinations, more than the {budget} "
                "evaluations of the budget: raise it, or use fewer options, or `sobol`"
            )
        while True:
            low = min((n for n, limit in zip(levels, most, strict=True) if n < limit), default=None)
            raised = False
            for axis, limit in enumerate(most):
                finer = [n + (i == axis) for i, n in enumerate(levels)]
                if levels[axis] == low and levels[axis] < limit and math.prod(finer) <= budget:
                    levels, raised = finer, True
            if not raised:
                return levels

    def _grid(self, levels: list[int]) -> list[Point]:
        """The feasible points of the grid, one for each configuration."""
        axes = [[(i + 0.5) / n for i in range(n)] for n in levels]
        points = (self.space.snap(point) for point in itertools.product(*axes) if self.space.feasible(point))
        return list(dict.fromkeys(points))
