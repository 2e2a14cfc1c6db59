"""What a search is measured on: a space, what its configurations are worth, and how that is observed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.contract.assignment import Configuration
from orchestrator.space import SearchSpace

DRAWS, POINTS = 400, 50


@dataclass(frozen=True)
class Problem:
    """A problem whose optimum is known.

    Attributes:
        name: its key in `PROBLEMS`.
        group: the group it is averaged in.
        space: what is searched.
        direction: of `values`.
        optimum: the best value in the space.
        best: a configuration that attains it.
        values: noise-free values of configurations, in natural units; None where every evaluation fails.
        stderr: standard error of what is observed; None if that is the value itself.
        host_failures: share of evaluations that fail whatever the configuration.
    """

    name: str
    group: str
    space: SearchSpace
    direction: Literal["minimize", "maximize"]
    optimum: float
    best: Configuration
    values: Callable[[Sequence[Configuration]], list[float | None]]
    stderr: float | None = None
    host_failures: float = 0.0

    @property
    def sign(self) -> int:
        """Turns a value into a score, which is maximized."""
        return 1 if self.direction == "maximize" else -1

    def regret(self, value: float) -> float:
        """How much worse than the optimum, at least 0."""
        return max(self.sign * (self.optimum - value), 0.0)

    def evaluate(
        self, configuration: Configuration, *, seed: int, trial: int
    ) -> tuple[float | None, float | None]:
        """What evaluating `configuration` as that trial of that study shows.

        Returns:
            The score observed, maximized, and the regret of the noise-free value; None twice if it failed.
        """
        rng = np.random.default_rng([seed, trial])
        lost, noise = rng.random() < self.host_failures, rng.standard_normal()
        (value,) = self.values([configuration])
        if lost or value is None:
            return None, None
        return self.sign * value + noise * (self.stderr or 0.0), self.regret(value)

    def random_regrets(self) -> tuple[float, float]:
        """What 50 uniform points that score reach: mean, over 400 draws, of their best's regret; and of any.

        The first is what regrets are divided by; the second stands for "nothing has scored yet".
        """
        rng = np.random.default_rng(0)
        points = rng.random((DRAWS * POINTS, self.space.dimension)).tolist()
        values = self.values([self.space.decode(tuple(point)) for point in points])
        regrets = np.array([math.inf if value is None else self.regret(value) for value in values])
        best = regrets.reshape(DRAWS, POINTS).min(axis=1)
        return float(np.mean(best[np.isfinite(best)])), float(np.mean(regrets[np.isfinite(regrets)]))
