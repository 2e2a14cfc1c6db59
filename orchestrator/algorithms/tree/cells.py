"""The trisected unit cube that SOO and its descendants search (Munos 2011, §3; K = 3).

A cell is held in whole numbers: on each axis a level l and an index k, standing for [k, k + 1) / 3^l. So
cells tile the cube exactly at any depth, and the longest side is the one of least level.

Nodes are numbered as they are made: the e-th expansion (e = 0, 1, …) makes 3e+1, 3e+2, 3e+3. Which side is
split follows from the cell alone, so the list of expanded nodes is the whole tree.

The tree knows no algorithm: it keeps for each node a score to be maximized, −∞ until it has one.

An algorithm writes its tree down under two keys of its state, where `views.search_tree` reads it:

tree    expanded  the nodes that were split, in order
        sources   node -> id of the suggestion whose score it has or waits for; −1: none
        bounds    node -> what a node without a source carries, in the units of the score; null: nothing yet
places  if there are constraints, what `Places.dump` gives: the points of nodes not scored at their center
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.space import Point

K = 3
MIDDLE = K // 2  # this child has its parent's center
NO_SCORE = -1  # in place of a suggestion's id
FINEST = 30  # sides of 3^-30 = 5e-15 are not split: a third of one is where float64 ends near 1
THIRDS = [float(K) ** level for level in range(FINEST + 1)]
Divisible = Callable[[int, Sequence[float], Sequence[float], Point], bool]


class Tree:
    """Cells, their depth and their scores, in arrays over nodes.

    Attributes:
        expanded: the nodes that were split, in order.
    """

    def __init__(self, dimension: int, divisible: Divisible) -> None:
        """Args:
        dimension: d.
        divisible: whether a cell is to be split on an axis, by its low and high corner and its center: never
            where that leads to no other value. It is asked once, when the cell is made.
        """
        self.expanded: list[int] = []
        self._divisible = divisible
        self._size = 1
        room = 16
        self._level = np.zeros((room, dimension), dtype=np.int64)
        self._index = np.zeros((room, dimension), dtype=np.int64)
        self._depth = np.zeros(room, dtype=np.int64)
        self._score = np.full(room, -np.inf)
        self._leaf = np.ones(room, dtype=np.bool_)
        self._open = np.zeros(room, dtype=np.bool_)
        self._axis = np.zeros(room, dtype=np.int64)
        self._measure(range(1))

    def __len__(self) -> int:
        return self._size

    @property
    def depth(self) -> npt.NDArray[np.int64]:
        """Depth of each node, the root's is 0: (n,)."""
        return self._depth[: self._size]

    @property
    def score(self) -> npt.NDArray[np.float64]:
        """Score of each node, to be written to: (n,)."""
        return self._score[: self._size]

    @property
    def leaf(self) -> npt.NDArray[np.bool_]:
        """True for each node that was not split: (n,)."""
        return self._leaf[: self._size]

    @property
    def open(self) -> npt.NDArray[np.bool_]:
        """True for each leaf that has a side to split: (n,)."""
        return self._open[: self._size]

    def cell(self, node: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Low and high corner of a node's cell: (d,), (d,)."""
        thirds = float(K) ** self._level[node]
        return self._index[node] / thirds, (self._index[node] + 1) / thirds

    def center(self, node: int) -> Point:
        """The point at which a node is scored: (d,)."""
        rows = zip(self._index[node].tolist(), self._level[node].tolist(), strict=True)
        return tuple((index + 0.5) / THIRDS[level] for index, level in rows)

    def best(self, depth: int) -> int | None:
        """The open leaf with the highest score at `depth`, the oldest of several; None if none has a score.

        Open: a leaf with a side that may be split.
        """
        candidates = np.flatnonzero((self.depth == depth) & self._open[: self._size])
        if not len(candidates):
            return None
        node = int(candidates[np.argmax(self._score[candidates])])
        return node if self._score[node] > -np.inf else None

    def shallowest(self) -> int:
        """The least depth at which there is an open leaf; 0 if there is none."""
        depths = self.depth[self._open[: self._size]]
        return int(depths.min()) if len(depths) else 0

    def expand(self, node: int) -> range:
        """Split an open leaf on its longest divisible side, ties to the lowest axis; return its K children.

        On a space whose sides all stay divisible this is the cyclic order, depth mod d.
        """
        assert self._leaf[node], f"node {node} was split before"
        assert self._open[node], f"node {node} has no side to split"
        axis = self._axis[node]
        first, self._size = self._size, self._size + K
        if self._size > len(self._depth):
            self._grow()
        children = range(first, self._size)
        self._level[first : self._size] = self._level[node]
        self._level[first : self._size, axis] += 1
        self._index[first : self._size] = self._index[node]
        self._index[first : self._size, axis] = K * self._index[node, axis] + np.arange(K)
        self._depth[first : self._size] = self._depth[node] + 1
        self._score[first : self._size] = -np.inf
        self._leaf[first : self._size] = True
        self._measure(children)
        self._leaf[node] = self._open[node] = False
        self.expanded.append(node)
        return children

    def dump(self, sources: Sequence[int]) -> dict[str, Any]:
        """Return the tree as JSON values, laid out as the module says."""
        bounds: list[float | None] = [None] * len(self)
        for node in np.flatnonzero((np.array(sources) == NO_SCORE) & np.isfinite(self.score)).tolist():
            bounds[node] = float(self.score[node])
        return {"expanded": list(self.expanded), "sources": list(sources), "bounds": bounds}

    def load(self, state: dict[str, Any]) -> None:
        """Grow a fresh tree to what `dump` gave, bounds included; scores are the algorithm's to write."""
        self.replay(state["expanded"])
        for node, bound in enumerate(state["bounds"]):
            if bound is not None:
                self.score[node] = bound

    def replay(self, expanded: Iterable[int]) -> None:
        """Grow a fresh tree by the expansions of another: what it takes to restore its cells."""
        for node in expanded:
            self.expand(node)

    def _measure(self, nodes: range) -> None:
        """Note which side of new nodes is to be split, if any."""
        for node in nodes:
            axis = self._side(node)
            self._open[node] = axis is not None
            self._axis[node] = axis or 0

    def _side(self, node: int) -> int | None:
        levels, indices = self._level[node].tolist(), self._index[node].tolist()
        rows = list(zip(indices, (THIRDS[level] for level in levels), strict=True))  # numpy is slow on so few
        low, high = [k / thirds for k, thirds in rows], [(k + 1) / thirds for k, thirds in rows]
        center = tuple((k + 0.5) / thirds for k, thirds in rows)
        for axis in sorted(range(len(levels)), key=levels.__getitem__):
            if levels[axis] < FINEST and self._divisible(axis, low, high, center):
                return axis
        return None

    def _grow(self) -> None:
        """Double the room, so that n nodes cost O(n)."""
        for name in ("_level", "_index", "_depth", "_score", "_leaf", "_open", "_axis"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros_like(array)]))
