"""A sweep whose new nodes are evaluated only if a Gaussian process thinks that they may beat the best.

    N ← N + 1
    U_N(x) ≥ f⁺ :  x is worth an evaluation
    otherwise:     score ← L_N(x), a bound

    U_N, L_N = μ ± β B_N s        B_N = √(2 ln(π² N² / 6η))        f⁺ = best real score

A bound is an opinion of the present process: whenever it is fitted, every bound of a leaf is computed anew.

Wang, Shakibi, Jin & de Freitas 2014, arXiv 1402.7005, Algorithm 2 and eq. 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from orchestrator.algorithms.surrogate.process import Array, Surrogate
from orchestrator.algorithms.tree.cells import NO_SCORE
from orchestrator.algorithms.tree.sweep import Sweep


def band(scorings: int, eta: float) -> float:
    """Return B_N = √(2 ln(π² N² / 6η)), the paper's eq. 2, for N = `scorings` ≥ 1."""
    return math.sqrt(2 * math.log(math.pi**2 * scorings**2 / (6 * eta)))


class BoundedSweep:
    """A sweep, the process that spares it evaluations, and N.

    Attributes:
        sweep: the tree and what its nodes carry.
        scorings: N, from 1.
        process: fitted to what was told; None until an evaluation has succeeded: every node is evaluated.
        waiting: nodes that are worth an evaluation and have not had it yet, oldest first; they have no score
            until then, so they are not divided.
        shown: node -> its bound, in the units of the scores, where `believe` was told how to compute it.
    """

    def __init__(
        self, sweep: Sweep, *, eta: float, beta: float, is_optimistic: bool = False, waits: bool = False
    ) -> None:
        """Args:
        sweep: new.
        eta: η: all bounds hold together with probability 1 − η.
        beta: β, 1 in the paper: η hardly moves B_N.
        is_optimistic: nodes carry U_N for L_N, and such a leaf is evaluated instead of divided when its turn
            comes (IMGPO).
        waits: nodes that are worth an evaluation are put in `waiting`; else they are suggested at once.
        """
        self.sweep = sweep
        self._eta, self._beta, self._is_optimistic, self._waits = eta, beta, is_optimistic, waits
        self.scorings = 1
        self.process: Surrogate | None = None
        self.waiting: list[int] = []
        self.shown: dict[int, float] = {}
        self._back: Callable[[Array], Array] | None = None

    def believe(self, process: Surrogate, back: Callable[[Array], Array] | None = None) -> None:
        """Take a newly fitted process, and compute every bound anew.

        Args:
            process: fitted to what was told.
            back: from its units to those of the scores, (m,) -> (m,); None: bounds need not be shown.
        """
        self.process, self._back = process, back
        for node in self.leaves:
            if self.sweep.inputs[node] in self.sweep.first:  # suggested for another node by now
                self.sweep.suggest(node)
        if leaves := self.leaves:
            self.sweep.tree.score[leaves] = self._carried(*self.bounds(leaves))

    def go_on(self) -> bool:
        """Go on with the sweep; False if a whole one did nothing."""
        return self.sweep.go_on(self.score, self._visit if self._is_optimistic else None)

    def score(self, nodes: Sequence[int]) -> None:
        """Give nodes that have just been made a bound, or have them evaluated."""
        sweep = self.sweep
        for node in nodes:
            if self.process is None or sweep.inputs[node] in sweep.first:
                sweep.suggest(node)
                continue
            self.scorings += 1
            lower, upper = self.bounds([node])
            if upper[0] < self.process.best:
                sweep.tree.score[node] = self._carried(lower, upper)[0]
            elif self._waits:
                self.waiting.append(node)
            else:
                sweep.suggest(node, lower=float(lower[0]), upper=float(upper[0]))

    def force(self) -> None:
        """Have the bound-scored leaf of highest U_N evaluated, if there is one."""
        if leaves := self.leaves:
            _, upper = self.bounds(leaves)
            self.sweep.suggest(leaves[int(np.argmax(upper))], forced=True)

    def bounds(self, nodes: Sequence[int]) -> tuple[Array, Array]:
        """Return L_N and U_N of nodes, (m,) each, at the present N."""
        assert self.process is not None
        mean, deviation = self.process.posterior([self.sweep.inputs[node] for node in nodes])
        width = self._beta * band(self.scorings, self._eta) * deviation
        lower = mean - width
        if self._back is not None:
            self.shown.update(zip(nodes, self._back(lower).tolist(), strict=True))
        return lower, mean + width

    @property
    def leaves(self) -> list[int]:
        """The leaves that carry a bound, oldest first."""
        unscored = np.array(self.sweep.sources) == NO_SCORE
        unscored[self.sweep.places.nowhere] = False
        unscored[self.waiting] = False
        return np.flatnonzero(self.sweep.tree.leaf & unscored).tolist()

    def dump(self) -> dict[str, Any]:
        """Return the whole of it as JSON values, but the process."""
        return {**self.sweep.dump(), "scorings": self.scorings}

    def load(self, state: dict[str, Any], points: Sequence[tuple[float, ...]]) -> None:
        """Take back what `dump` gave; `points` are the suggestions, by id. `believe` brings the bounds."""
        self.sweep.load(state, points)
        self.scorings = state["scorings"]

    def _visit(self, node: int) -> bool:
        """Have a leaf that carries a bound evaluated; v_max stays: its score is not known yet."""
        sweep = self.sweep
        if sweep.sources[node] != NO_SCORE or sweep.places.of(node) is None:
            return False
        sweep.suggest(node)
        return True

    def _carried(self, lower: Array, upper: Array) -> Array:
        """What nodes carry that are not evaluated: (m,)."""
        return upper if self._is_optimistic else lower
