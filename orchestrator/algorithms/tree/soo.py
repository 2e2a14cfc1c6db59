"""SOO, simultaneous optimistic optimization (Munos 2011, NeurIPS 24, Algorithm 2).

    one sweep:  v_max ← −∞
                for h = 0 … deepest, and h ≤ h_max(n):
                    x ← best open leaf at depth h
                    if score(x) > v_max:  expand x, v_max ← score(x)

n = expansions so far. The middle child has its parent's center and inherits its score by index, never by
comparing coordinates: an expansion costs K − 1 = 2 evaluations.

`h_max = "sqrt"` is the published algorithm: h_max(n) = √n with n re-read at each depth, `≥` for `>`, and the
children of depth h are scored before a leaf at depth h + 1 is chosen. Where we differ without it:

- No h_max. √n is too tight for the tens of evaluations a study has: 50 of them, about 24 expansions, end at
  depth 4, and in five dimensions some axis was never split. Then `>` and the depth frozen at the start of the
  sweep are needed: `≥` follows one point down forever, because its middle child has its score.
- A sweep is decided from what was told before it, so it is one batch: at most one leaf of each depth, and all
  its evaluations run at once. `sequential = True` waits as the published one does, two evaluations at a time;
  on the functions we measured with 100 evaluations the results are the same.

Nodes of one configuration (integers, choices, what was enqueued) share one score: only the first costs an
evaluation. A failed one counts as the worst score told so far, whatever that becomes.

A cell in which no feasible point was found (`places`) is never evaluated. It carries a hair less than the
worst score, and ties do not count for it: a sweep divides at most one of them, at the least depth.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.algorithms.options import HMax
from orchestrator.algorithms.planned import Planned
from orchestrator.algorithms.tree.cells import NO_SCORE, Tree
from orchestrator.algorithms.tree.places import Places
from orchestrator.space.parameter import Point
from orchestrator.space.space import SearchSpace


class SOO(Planned):
    """The tree, whose score each node has, and where the sweep stands."""

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
        self._bounded = h_max == "sqrt"
        self._sequential = self._bounded if sequential is None else sequential
        self._ties = self._sequential and self._bounded
        self._tree = Tree(space.dimension, space.divisible)
        self._places = Places(space, self._tree)
        self._places.enter(0)
        self._inputs: list[Point] = [self._input(0)]  # node -> its configuration's point
        self._sources: list[int] = [NO_SCORE]  # node -> id of the suggestion whose score it has
        self._first: dict[Point, int] = {}  # a configuration's point -> id of the suggestion made for it
        self._scores = np.empty(0)  # id -> score, NaN for a failure; as of the last `_settle`
        self._values = np.empty(0)  # … with the worst for a failure
        self._lowest = 0.0  # what cells without a feasible point carry
        self._begin()

    def enqueue(self, points: Sequence[Point]) -> None:
        super().enqueue(points)
        self._remember()

    def _remember(self) -> None:
        """Let what is planned stand for its configuration."""
        for identity in range(len(self._points)):
            self._first.setdefault(self.space.snap(self._points[identity]), identity)

    def _plan(self) -> None:
        if len(self._first) == self.space.cardinality:
            return
        if self._sources[0] == NO_SCORE and self._places.of(0) is not None:
            self._suggest(0)  # whatever is pending: the root needs no observation
        if self._settled:
            self._settle()
            self._search()

    def _search(self) -> None:
        """Sweep until something is planned; nothing is if every leaf is closed."""
        while self._sweep() and self._settled:
            pass

    def _begin(self) -> None:
        """Start a sweep: the depth it goes down to is frozen here."""
        self._height = 0  # h, the depth to choose at next
        self._best = -math.inf  # v_max
        self._deepest = int(self._tree.depth.max())
        self._shallowest = self._tree.shallowest()
        self._moved = False  # whether this sweep did anything

    def _sweep(self) -> bool:
        """Go on with the sweep to its end, or to where it has to wait; False if a whole sweep did nothing."""
        while self._height <= self._deepest and self._height <= self._h_max():
            node = self._tree.best(self._height)
            self._height += 1
            if node is None or not self._promising(node):
                continue
            self._moved = True
            self._visit(node)
            if self._sequential and not self._settled:
                return True
        moved = self._moved
        self._begin()
        return moved

    def _h_max(self) -> float:
        """√n, or the shallowest open leaf where values have run out above it: it never ends the search."""
        return max(math.sqrt(len(self._tree.expanded)), self._shallowest) if self._bounded else math.inf

    def _promising(self, node: int) -> bool:
        score = float(self._tree.score[node])
        ties = self._ties and self._sources[node] != NO_SCORE
        return score > self._best or (ties and score == self._best)

    def _visit(self, node: int) -> None:
        self._best = float(self._tree.score[node])
        self._expand(node)

    def _expand(self, node: int) -> None:
        children = self._tree.expand(node)
        heir = None if self._sources[node] == NO_SCORE else self._places.heir(node, children)
        fresh = []
        for child in children:
            self._sources.append(NO_SCORE)
            if child == heir:
                self._places.inherit(node, child)
                self._sources[child] = self._sources[node]
                self._tree.score[child] = self._tree.score[node]
            else:
                self._places.enter(child)
                if self._places.of(child) is None:
                    self._tree.score[child] = self._lowest
                else:
                    fresh.append(child)
            self._inputs.append(self._input(child))
        self._score(fresh)

    def _input(self, node: int) -> Point:
        return self.space.snap(self._places.of(node) or self._tree.center(node))

    def _score(self, nodes: Sequence[int]) -> None:
        """Give nodes that have just been made a score, or plan an evaluation of them."""
        for node in nodes:
            self._suggest(node)

    def _suggest(self, node: int, **note: Any) -> None:
        """Let `node` have the score of its configuration, which is planned unless it was before."""
        known = self._first.get(self._inputs[node])
        if known is None:
            note |= {"node": node, "depth": int(self._tree.depth[node])}
            place = self._places.of(node)
            assert place is not None, f"node {node} has no feasible point"
            known = self._append(place, **note)
            self._first[self._inputs[node]] = known
        self._sources[node] = known
        self._tree.score[node] = self._values[known] if known < len(self._values) else -math.inf

    def _settle(self) -> None:
        """Write the scores of what was told into the tree; called when everything planned is told."""
        new = [self._told[i].score for i in range(len(self._scores), len(self._points))]
        self._scores = np.concatenate([self._scores, np.array(new, dtype=np.float64)])
        failed = np.isnan(self._scores)
        elsewhere = min((one.score for one in self._known), default=0.0)
        worst = elsewhere if failed.all() else float(np.nanmin(self._scores))
        self._carry(np.where(failed, worst, self._scores), worst)

    def _carry(self, values: npt.NDArray[np.float64], worst: float) -> None:
        """Let each node have its value, by id: −∞ where that is not known yet."""
        self._values = values
        self._lowest = max(math.nextafter(worst, -math.inf), -sys.float_info.max)
        sources = np.array(self._sources)
        real = sources != NO_SCORE
        self._tree.score[real] = self._values[sources[real]]
        self._tree.score[self._places.nowhere] = self._lowest

    def _state(self) -> dict[str, Any]:
        return {
            "tree": self._tree.dump(self._sources),
            "places": self._places.dump(),
            "sweep": {
                "height": self._height,
                "best": None if self._best == -math.inf else self._best,
                "deepest": self._deepest,
                "shallowest": self._shallowest,
                "moved": self._moved,
            },
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self._tree = Tree(self.space.dimension, self.space.divisible)
        self._tree.load(state["tree"])
        self._sources = list(state["tree"]["sources"])
        self._places = Places(self.space, self._tree)
        self._places.load(state["places"])
        self._first = {}
        self._remember()
        made = {identity: point for point, identity in self._first.items()}
        self._inputs = [
            self._input(node) if source == NO_SCORE else made[source]
            for node, source in enumerate(self._sources)
        ]
        sweep = state["sweep"]
        self._height, self._moved = sweep["height"], sweep["moved"]
        self._deepest, self._shallowest = sweep["deepest"], sweep["shallowest"]
        self._best = -math.inf if sweep["best"] is None else sweep["best"]
