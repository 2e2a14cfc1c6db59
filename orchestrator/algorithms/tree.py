"""The trisected unit cube that SOO and its descendants search (Munos 2011, §3; K = 3).

A cell is held in whole numbers: on each axis a level l and an index k, standing for [k, k + 1) / 3^l. So
cells tile the cube exactly at any depth, and the longest side is the one of least level.

Nodes are numbered as they are made: the e-th expansion (e = 0, 1, …) makes 3e+1, 3e+2, 3e+3. Which side is
split follows from the cell alone, so the list of expanded nodes is the whole tree.

The tree knows no algorithm: it keeps for each node a score to be maximized, −∞ until it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from orchestrator.trial import Point

K = 3
MIDDLE = K // 2  # this child has its parent's center
FINEST = 30  # sides of 3^-30 = 5e-15 are not split: a third of one is where float64 ends near 1


class Tree:
    """Cells, their depth and their scores, in arrays over nodes.

    Attributes:
        expanded: the nodes that were split, in order.
    """

    def __init__(self, dimension: int, divisible: Callable[[int, float, float], bool]) -> None:
        """Args:
        dimension: d.
        divisible: whether a side [low, high) on an axis is to be split; a side of one value never is.
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
        self._open[0] = self._side(0) is not None

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

    def cell(self, node: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Low and high corner of a node's cell: (d,), (d,)."""
        thirds = float(K) ** self._level[node]
        return self._index[node] / thirds, (self._index[node] + 1) / thirds

    def center(self, node: int) -> Point:
        """The point at which a node is scored: (d,)."""
        return tuple(((self._index[node] + 0.5) / float(K) ** self._level[node]).tolist())

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
        axis = self._side(node)
        assert axis is not None, f"node {node} has no side to split"
        assert self._leaf[node], f"node {node} was split before"
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
        self._open[first : self._size] = [self._side(child) is not None for child in children]
        self._leaf[node] = self._open[node] = False
        self.expanded.append(node)
        return children

    def replay(self, expanded: Iterable[int]) -> None:
        """Grow a fresh tree by the expansions of another: all it takes to restore one."""
        for node in expanded:
            self.expand(node)

    def _side(self, node: int) -> int | None:
        low, high = (corner.tolist() for corner in self.cell(node))
        levels = self._level[node].tolist()
        sides = [
            (level, axis)
            for axis, level in enumerate(levels)
            if level < FINEST and self._divisible(axis, low[axis], high[axis])
        ]
        return min(sides)[1] if sides else None

    def _grow(self) -> None:
        """Double the room, so that n nodes cost O(n)."""
        for name in ("_level", "_index", "_depth", "_score", "_leaf", "_open"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros_like(array)]))
