"""BaMSOO, Bayesian multi-scale optimistic optimization (Wang, Shakibi, Jin & de Freitas 2014, 1402.7005).

SOO, but a child is evaluated only if a Gaussian process thinks it may beat the best (Algorithm 2):

    U_N(x) ≥ f⁺ :  score ← f(x), an evaluation
    otherwise:     score ← L_N(x), a bound (`bounded`)

Where the paper leaves a choice, or we differ:

- N counts scorings by the process, from 1. (The paper says evaluations; B_N grows by 0.3 from N = 50 to 100.)
- β, 1 in the paper, is there because η hardly moves B_N.
- Sweeps are SOO's batches, without h_max and with `>` by default. One fit per sweep that evaluates something,
  after which every bound is computed anew: a bound is an opinion of the present model.
- The middle child of a node that has a real score inherits it; that of a bound-scored one is scored like any.
- A sweep may skip every child. After `max_free_sweeps` of them the bound-scored leaf of highest U_N is
  evaluated, so the search cannot hang.
- The priors of the process are wider than `surrogate`'s own, for scores that are standardized but not warped:
  chosen on six functions at 100 evaluations; with the narrow ones two ended 50 and 1000 times further off.
- `rule = "imgpo"` (Kawaguchi, Kaelbling & Lozano-Pérez 2015, arXiv 1604.01348): score ← U_N for ← L_N, and a
  bound-scored leaf is evaluated instead of divided when its turn comes. It is not re-selected at the same
  depth in that sweep, as the sweep is a batch.
- A failed evaluation counts as the worst score in the tree, and the process is not shown it.
- The process is fitted to what was enqueued and to what was learnt from elsewhere too, and f⁺ is the
  best of them all.
- A cell in which no feasible point was found (`places`) carries no bound, but what it does in SOO.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.algorithms.options import HMax, Kernel, Rule
from orchestrator.algorithms.planned import Planned
from orchestrator.algorithms.surrogate import process as surrogate
from orchestrator.algorithms.surrogate.priors import Priors
from orchestrator.algorithms.tree.bounded import BoundedSweep
from orchestrator.algorithms.tree.sweep import Sweep
from orchestrator.space import Point, SearchSpace

PRIORS = Priors(lengthscale_sd=1.25, variance_sd=3.0, noise_center=-8.0)


class BaMSOO(Planned):
    """A bounded sweep, and one fit of its process before each sweep that follows on an evaluation."""

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        budget: int,
        capacity: int,
        eta: float,
        beta: float,
        kernel: Kernel,
        h_max: HMax,
        rule: Rule,
        max_free_sweeps: int,
    ) -> None:
        """`seed` and `capacity` change nothing, as in SOO."""
        super().__init__(space, seed=seed, budget=budget, capacity=capacity)
        self._kernel, self._max_free_sweeps = kernel, max_free_sweeps
        self.sweep = Sweep(space, self._append, is_bounded=h_max == "sqrt")
        self.bounded = BoundedSweep(self.sweep, eta=eta, beta=beta, is_optimistic=rule == "imgpo")

    def enqueue(self, points: Sequence[Point]) -> None:
        """As of every algorithm; what is enqueued stands for its configuration in the tree."""
        super().enqueue(points)
        self.sweep.remember(self._points)

    def _plan(self) -> None:
        if self.sweep.is_exhausted:
            return
        self.sweep.suggest_root()
        if self._settled:
            self._settle()
            self._search()

    def _settle(self) -> None:
        """Write what was told into the tree, and fit the process to it."""
        self.sweep.settle(self._told, self._known)
        if scored := self._scored():
            points, scores, stderrs = zip(*scored, strict=True)
            self.bounded.believe(surrogate.fit(points, scores, stderrs, kernel=self._kernel, priors=PRIORS))

    def _search(self) -> None:
        """Sweep until something is planned, in the end by force; at the very end nothing is left to plan."""
        free = 0
        while self._settled:
            moved = self.bounded.go_on()
            free += 1
            if self._settled and (not moved or free >= self._max_free_sweeps):
                self.bounded.force()
                if not moved:
                    return

    def _state(self) -> dict[str, Any]:
        return self.bounded.dump()

    def _restore(self, state: dict[str, Any]) -> None:
        self.bounded.load(state, self._points)
