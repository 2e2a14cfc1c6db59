"""A tree of cells that is divided sweep by sweep: whose score each node has, and where the sweep stands.

    one sweep:  v_max ← −∞
                for h = 0 … deepest, and h ≤ h_max(n):
                    x ← best open leaf at depth h
                    if score(x) > v_max:  expand x, v_max ← score(x)

n = expansions so far. The depth it goes down to is frozen at its start. The child with its parent's place
inherits its score by index, never by comparing coordinates. What becomes of the other children is for the
algorithm that holds the sweep to say: it evaluates them, or gives them a bound.

Nodes of one configuration (integers, choices, what was enqueued) share one score: only the first costs an
evaluation. A cell in which no feasible point was found (`places`) is never evaluated. It carries a hair less
than the worst score, and ties do not count for it: a sweep divides at most one of them, at the least depth.

Munos 2011, NeurIPS 24, Algorithm 2.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.algorithms.base import KnownScore, Observation
from orchestrator.algorithms.tree.cells import NO_SCORE, Tree
from orchestrator.algorithms.tree.places import Places
from orchestrator.space import Point, SearchSpace

Score = Callable[[Sequence[int]], None]  # gives nodes that have just been made a score, or has them evaluated
Visit = Callable[[int], bool]  # deals with an open leaf in another way than dividing it; False: it does not


class Sweep:
    """The tree, the scores of its nodes, and the sweep that is under way.

    Attributes:
        tree: the cells; its scores are written here.
        places: where they are scored.
        inputs: node -> the snapped point of its configuration: (d,).
        sources: node -> id of the suggestion whose score it has or waits for; −1: none.
        first: a configuration's snapped point -> id of the suggestion made for it.
    """

    def __init__(
        self, space: SearchSpace, plan: Callable[..., int], *, is_bounded: bool = False, ties: bool = False
    ) -> None:
        """Args:
        space: what is searched.
        plan: `plan(point, **note)` has a point evaluated, and returns the suggestion's id.
        is_bounded: a sweep goes down to depth √n only, n read anew at each depth.
        ties: `≥` for `>`, of nodes that have a score of their own.
        """
        self._space, self._plan = space, plan
        self._is_bounded, self._ties = is_bounded, ties
        self.tree = Tree(space.dimension, space.divisible)
        self.places = Places(space, self.tree)
        self.places.enter(0)
        self.inputs: list[Point] = [self._input(0)]
        self.sources: list[int] = [NO_SCORE]
        self.first: dict[Point, int] = {}
        self._scores = np.empty(0)  # id -> score, NaN for a failure; as of the last `settle`
        self._values = np.empty(0)  # … with the worst for a failure
        self._lowest = 0.0  # what cells without a feasible point carry
        self._begin()

    @property
    def is_exhausted(self) -> bool:
        """True if every configuration of the space was suggested."""
        return len(self.first) == self._space.cardinality

    def remember(self, points: Iterable[Point]) -> None:
        """Let suggestions, by id, stand for their configurations; of several the first."""
        for identity, point in enumerate(points):
            self.first.setdefault(self._space.snap(point), identity)

    def suggest_root(self, **note: Any) -> None:
        """Have the root evaluated, unless it is already or has no feasible point: it needs no observation."""
        if self.sources[0] == NO_SCORE and self.places.of(0) is not None:
            self.suggest(0, **note)

    def suggest(self, node: int, **note: Any) -> None:
        """Let `node` have the score of its configuration, which is planned unless it was before."""
        known = self.first.get(self.inputs[node])
        if known is None:
            note |= {"node": node, "depth": int(self.tree.depth[node])}
            place = self.places.of(node)
            assert place is not None, f"node {node} has no feasible point"
            known = self._plan(place, **note)
            self.first[self.inputs[node]] = known
        self.sources[node] = known
        self.tree.score[node] = self._values[known] if known < len(self._values) else -math.inf

    def suggest_all(self, nodes: Sequence[int]) -> None:
        """Have every one of these nodes evaluated: what SOO does with new ones."""
        for node in nodes:
            self.suggest(node)

    # -- dividing -------------------------------------------------------------------------------------------

    def go_on(
        self, score: Score, visit: Visit | None = None, is_waiting: Callable[[], bool] = lambda: False
    ) -> bool:
        """Go on with the sweep to its end, or to where it has to wait.

        Args:
            score: takes the children that inherit no score.
            visit: is asked first of each leaf that is to be divided.
            is_waiting: True if nothing may be chosen before more is told.

        Returns:
            False if a whole sweep did nothing.
        """
        while self._height <= self._deepest and self._height <= self._h_max():
            node = self.tree.best(self._height)
            self._height += 1
            if node is None or not self._promising(node):
                continue
            self._moved = True
            if visit is None or not visit(node):
                self._best = float(self.tree.score[node])
                self.expand(node, score)
            if is_waiting():
                return True
        moved = self._moved
        self._begin()
        return moved

    def expand(self, node: int, score: Score) -> None:
        """Divide an open leaf; `score` takes the children that inherit no score."""
        children = self.tree.expand(node)
        heir = None if self.sources[node] == NO_SCORE else self.places.heir(node, children)
        fresh = []
        for child in children:
            self.sources.append(NO_SCORE)
            if child == heir:
                self.places.inherit(node, child)
                self.sources[child] = self.sources[node]
                self.tree.score[child] = self.tree.score[node]
            else:
                self.places.enter(child)
                if self.places.of(child) is None:
                    self.tree.score[child] = self._lowest
                else:
                    fresh.append(child)
            self.inputs.append(self._input(child))
        score(fresh)

    def _begin(self) -> None:
        """Start a sweep: the depth it goes down to is frozen here."""
        self._height = 0  # h, the depth to choose at next
        self._best = -math.inf  # v_max
        self._deepest: int = int(self.tree.depth.max())
        self._shallowest = self.tree.shallowest()
        self._moved = False  # whether this sweep did anything

    def _h_max(self) -> float:
        """√n, or the shallowest open leaf where values have run out above it: it never ends the search."""
        if not self._is_bounded:
            return math.inf
        return max(math.sqrt(len(self.tree.expanded)), self._shallowest)

    def _promising(self, node: int) -> bool:
        score = float(self.tree.score[node])
        ties = self._ties and self.sources[node] != NO_SCORE
        return score > self._best or (ties and score == self._best)

    def _input(self, node: int) -> Point:
        return self._space.snap(self.places.of(node) or self.tree.center(node))

    # -- scores ---------------------------------------------------------------------------------------------

    def settle(self, told: Mapping[int, Observation], known: Sequence[KnownScore]) -> None:
        """Write scores into the tree; a failure has the worst of them.

        Args:
            told: of every suggestion, by id.
            known: scores from elsewhere; a failure has the worst of them as long as nothing told has a score.
        """
        new = [told[i].score for i in range(len(self._scores), len(told))]
        self._scores = np.concatenate([self._scores, np.array(new, dtype=np.float64)])
        failed = np.isnan(self._scores)
        elsewhere = min((one.score for one in known), default=0.0)
        worst = elsewhere if failed.all() else float(np.nanmin(self._scores))
        self.carry(np.where(failed, worst, self._scores), worst)

    def carry(self, values: npt.NDArray[np.float64], worst: float) -> None:
        """Let each node have the value of its suggestion, by id (n,): −∞ where that is not known yet."""
        self._values = values
        self._lowest = max(math.nextafter(worst, -math.inf), -sys.float_info.max)
        sources = np.array(self.sources)
        real = sources != NO_SCORE
        self.tree.score[real] = self._values[sources[real]]
        self.tree.score[self.places.nowhere] = self._lowest

    # -- written down ---------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Return the whole of it as JSON values, but what the algorithm keeps of its suggestions."""
        return {
            "tree": self.tree.dump(self.sources),
            "places": self.places.dump(),
            "sweep": {
                "height": self._height,
                "best": None if self._best == -math.inf else self._best,
                "deepest": self._deepest,
                "shallowest": self._shallowest,
                "moved": self._moved,
            },
        }

    def load(self, state: dict[str, Any], points: Iterable[Point]) -> None:
        """Take back what `dump` gave; `points` are the suggestions, by id. `settle` brings the scores."""
        self.tree = Tree(self._space.dimension, self._space.divisible)
        self.tree.load(state["tree"])
        self.sources = list(state["tree"]["sources"])
        self.places = Places(self._space, self.tree)
        self.places.load(state["places"])
        self.first = {}
        self.remember(points)
        made = {identity: point for point, identity in self.first.items()}
        self.inputs = [
            self._input(node) if source == NO_SCORE else made[source]
            for node, source in enumerate(self.sources)
        ]
        sweep = state["sweep"]
        self._height, self._moved = sweep["height"], sweep["moved"]
        self._deepest, self._shallowest = sweep["deepest"], sweep["shallowest"]
        self._best = -math.inf if sweep["best"] is None else sweep["best"]
