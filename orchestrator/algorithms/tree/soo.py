"""SOO, simultaneous optimistic optimization (Munos 2011, NeurIPS 24, Algorithm 2).

The sweep is that of `sweep`. The middle child has its parent's center and inherits its score, so an expansion
costs K − 1 = 2 evaluations.

`h_max = "sqrt"` is the published algorithm: h_max(n) = √n with n re-read at each depth, `≥` for `>`, and the
children of depth h are scored before a leaf at depth h + 1 is chosen. Where we differ without it:

- No h_max. √n is too tight for the tens of evaluations a study has: 50 of them, about 24 expansions, end at
  depth 4, and in five dimensions some axis was never split. Then `>` and the depth frozen at the start of the
  sweep are needed: `≥` follows one point down forever, because its middle child has its score.
- A sweep is decided from what was told before it, so it is one batch: at most one leaf of each depth, and all
  its evaluations run at once. `sequential = True` waits as the published one does, two evaluations at a time;
  on the functions we measured with 100 evaluations the results are the same.

A failed evaluation counts as the worst score told so far, whatever that becomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.algorithms.options import HMax
from orchestrator.algorithms.planned import Planned
from orchestrator.algorithms.tree.sweep import Sweep
from orchestrator.space import Point, SearchSpace


class SOO(Planned):
    """A sweep that has every new node evaluated."""

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        budget: int,
        capacity: int,
        h_max: HMax,
        sequential: bool | None,
    ) -> None:
        """`seed` and `capacity` change nothing: there is no randomness, and a sweep is as wide as it is."""
        super().__init__(space, seed=seed, budget=budget, capacity=capacity)
        is_bounded = h_max == "sqrt"
        self._sequential = is_bounded if sequential is None else sequential
        ties = self._sequential and is_bounded
        self.sweep = Sweep(space, self._append, is_bounded=is_bounded, ties=ties)

    def enqueue(self, points: Sequence[Point]) -> None:
        """As of every algorithm; what is enqueued stands for its configuration in the tree."""
        super().enqueue(points)
        self.sweep.remember(self._points)

    def _plan(self) -> None:
        sweep = self.sweep
        if sweep.is_exhausted:
            return
        sweep.suggest_root()
        if self._settled:
            sweep.settle(self._told, self._known)
            while self._settled and sweep.go_on(sweep.suggest_all, is_waiting=self._is_waiting):
                pass

    def _is_waiting(self) -> bool:
        return self._sequential and not self._settled

    def _state(self) -> dict[str, Any]:
        return self.sweep.dump()

    def _restore(self, state: dict[str, Any]) -> None:
        self.sweep.load(state, self._points)
