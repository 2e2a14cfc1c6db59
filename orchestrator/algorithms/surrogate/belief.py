"""What was told makes one believe of the rest: a process on warped scores, and chances of failure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.algorithms.surrogate import process as surrogate
from orchestrator.algorithms.surrogate.acquisition import FailureModel, Value
from orchestrator.algorithms.surrogate.process import Scored, Surrogate
from orchestrator.algorithms.surrogate.warp import Warp
from orchestrator.space import Point

LEADERS = 3


@dataclass(frozen=True)
class Belief:
    """A process fitted to warped scores u, and one to failures if there were any.

    Attributes:
        warp: from scores to u.
        scores: u of each point that scored: (n,).
        process: fitted to u.
        failures: None if nothing failed.
        leaders: the best points known, best first.
    """

    warp: Warp
    scores: surrogate.Array
    process: Surrogate
    failures: FailureModel | None
    leaders: tuple[Point, ...]

    @classmethod
    def of(
        cls, scored: Sequence[Scored], failed: Sequence[Point], choices: Mapping[int, int]
    ) -> Belief | None:
        """Return what follows from points that scored and points that failed; None without a score.

        Args:
            scored: n of them.
            failed: those without a score, snapped.
            choices: axis -> number of options, of the axes that are choices.
        """
        if not scored:
            return None
        good, scores, stderrs = zip(*scored, strict=True)
        y = np.array(scores)
        warp = Warp.fitted(y)
        u, errors = warp(y), warp.errors(y, np.array(stderrs, dtype=np.float64))
        known = [None if math.isnan(error) else error for error in errors.tolist()]
        process = surrogate.fit(good, u.tolist(), known, choices=choices)
        failures = None
        if failed:
            labels = [1.0] * len(good) + [-1.0] * len(failed)
            failures = FailureModel(surrogate.fit([*good, *failed], labels, choices=choices))
        merit = process.posterior(good)[0] if process.noisy else u
        leaders = tuple(good[i] for i in np.argsort(-merit, kind="stable")[:LEADERS])
        return cls(warp, u, process, failures, leaders)

    def careful(self, value: Value) -> Value:
        """`value` plus ln P_ok."""
        failures = self.failures
        return value if failures is None else lambda x: value(x) + failures.log_ok(x)
