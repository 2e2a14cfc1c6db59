"""BaMSOO, Bayesian multi-scale optimistic optimization (Wang, Shakibi, Jin & de Freitas 2014, 1402.7005).

SOO, but a child is evaluated only if a Gaussian process thinks it may beat the best (Algorithm 2):

    N ← N + 1
    U_N(x) ≥ f⁺ :  score ← f(x), an evaluation
    otherwise:     score ← L_N(x), a bound

    U_N, L_N = μ ± β B_N s        B_N = √(2 ln(π² N² / 6η))        f⁺ = best real score

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

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.algorithms.base import Observation
from orchestrator.algorithms.options import HMax, Kernel, Rule
from orchestrator.algorithms.surrogate import process as surrogate
from orchestrator.algorithms.surrogate.priors import Priors
from orchestrator.algorithms.surrogate.process import Array, Scored, Surrogate
from orchestrator.algorithms.tree.cells import NO_SCORE
from orchestrator.algorithms.tree.soo import SOO
from orchestrator.space.space import SearchSpace

PRIORS = Priors(lengthscale_sd=1.25, variance_sd=3.0, noise_center=-8.0)


def band(scorings: int, eta: float) -> float:
    """B_N = √(2 ln(π² N² / 6η)), the paper's eq. 2, for N = `scorings` ≥ 1."""
    return math.sqrt(2 * math.log(math.pi**2 * scorings**2 / (6 * eta)))


class BaMSOO(SOO):
    """SOO's tree, N, and the process fitted to what was told before the sweep."""

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
        super().__init__(space, seed=seed, budget=budget, capacity=capacity, h_max=h_max, sequential=False)
        self._eta, self._beta, self._kernel = eta, beta, kernel
        self._optimistic = rule == "imgpo"
        self._max_free_sweeps = max_free_sweeps
        self._scorings = 1  # N
        self._surrogate: Surrogate | None = None  # None until an evaluation has succeeded

    def _settle(self) -> None:
        """Real scores into the tree, one fit to them, and every bound anew."""
        super()._settle()
        if scored := self._scored([o for _, o in sorted(self._told.items())]):
            points, scores, stderrs = zip(*scored, strict=True)
            self._surrogate = surrogate.fit(points, scores, stderrs, kernel=self._kernel, priors=PRIORS)
            self._rescore()

    def _scored(self, told: Sequence[Observation]) -> list[Scored]:
        """Return what has a score, as a model should see it: of `told`, then from elsewhere."""
        own = ((self._points[o.id], o.score, o.stderr) for o in told)
        scored = [(point, score, stderr) for point, score, stderr in own if score is not None]
        scored += [(one.point, one.score, one.stderr) for one in self._known]
        return [(self.space.snap(point), score, stderr) for point, score, stderr in scored]

    def _rescore(self) -> None:
        """Compute every bound anew; a configuration suggested for another node has its score."""
        for node in self._bound_leaves():
            if self._inputs[node] in self._first:
                self._suggest(node)
        if bound := self._bound_leaves():
            self._tree.score[bound] = self._carried(*self._bounds(bound))

    def _search(self) -> None:
        """Sweep until something is planned, in the end by force; at the very end nothing is left to plan."""
        free = 0
        while self._settled:
            moved = self._sweep()
            free += 1
            if self._settled and (not moved or free >= self._max_free_sweeps):
                self._force()
                if not moved:
                    return

    def _force(self) -> None:
        """Plan an evaluation of the bound-scored leaf of highest U_N, if there is one."""
        if bound := self._bound_leaves():
            _, upper = self._bounds(bound)
            self._suggest(bound[int(np.argmax(upper))], forced=True)

    def _visit(self, node: int) -> None:
        if self._optimistic and self._sources[node] == NO_SCORE and self._places.of(node) is not None:
            self._suggest(node)  # v_max stays: this node's score is not known yet
        else:
            super()._visit(node)

    def _score(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            if self._surrogate is None or self._inputs[node] in self._first:
                self._suggest(node)
                continue
            self._scorings += 1
            lower, upper = self._bounds([node])
            if upper[0] >= self._surrogate.best:
                self._evaluate(node, lower=float(lower[0]), upper=float(upper[0]))
            else:
                self._tree.score[node] = self._carried(lower, upper)[0]

    def _evaluate(self, node: int, **note: Any) -> None:
        """Have a new node evaluated that may beat the best."""
        self._suggest(node, **note)

    def _bounds(self, nodes: Sequence[int]) -> tuple[Array, Array]:
        """Return L_N and U_N of nodes, (m,) each, at the present N."""
        assert self._surrogate is not None
        mean, deviation = self._surrogate.posterior([self._inputs[node] for node in nodes])
        width = self._beta * band(self._scorings, self._eta) * deviation
        return mean - width, mean + width

    def _carried(self, lower: Array, upper: Array) -> Array:
        """Return what nodes carry that are not evaluated."""
        return upper if self._optimistic else lower

    def _bound_leaves(self) -> list[int]:
        """Return the leaves that carry a bound, oldest first."""
        unscored = np.array(self._sources) == NO_SCORE
        unscored[self._places.nowhere] = False
        return np.flatnonzero(self._tree.leaf & unscored).tolist()

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "scorings": self._scorings}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        self._scorings = state["scorings"]
