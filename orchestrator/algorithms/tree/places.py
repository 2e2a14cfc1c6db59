"""Where the cells of a tree are scored, on a space with constraints.

A cell is scored at its center. If that breaks a constraint, then at a feasible point drawn inside the cell,
whose score goes on to the child that holds the point if its center breaks one too. If `TRIES` draws find no
such point, the cell is scored nowhere: it can only be divided. Cells tile the cube, so a tree that divides
them all finds a feasible part of volume p after about 1/p draws, whatever its shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orchestrator.algorithms.tree.cells import MIDDLE, Tree
from orchestrator.space import Point, SearchSpace

TRIES = 64


class Places:
    """The places of nodes; a draw depends on the node's number alone, so nothing random has to be saved."""

    def __init__(self, space: SearchSpace, tree: Tree) -> None:
        self._space, self._tree = space, tree
        self._drawn: dict[int, Point | None] = {}  # of nodes that are not scored at their center

    @property
    def nowhere(self) -> list[int]:
        """The nodes that are scored nowhere, oldest first."""
        return [node for node, place in self._drawn.items() if place is None]

    def of(self, node: int) -> Point | None:
        """The place of a node that was entered: (d,), feasible; None if it has none."""
        return self._drawn[node] if node in self._drawn else self._tree.center(node)

    def enter(self, node: int) -> None:
        """Find a new node its place."""
        if self._space.feasible(self._tree.center(node)):
            return
        low, high = self._tree.cell(node)
        draws = low + (high - low) * np.random.default_rng(node).random((TRIES, self._space.dimension))
        points = (tuple(row.tolist()) for row in draws)
        self._drawn[node] = next((point for point in points if self._space.feasible(point)), None)

    def heir(self, node: int, children: range) -> int | None:
        """The child that is scored at its parent's place; None if there is none."""
        if node not in self._drawn:
            return children[MIDDLE]
        place = self._drawn[node]
        if place is None:
            return None
        strays = [child for child in children if not self._space.feasible(self._tree.center(child))]
        cells = ((child, *self._tree.cell(child)) for child in strays)
        return next((child for child, low, high in cells if np.all((low <= place) & (place < high))), None)

    def inherit(self, node: int, heir: int) -> None:
        """Let a new node have its parent's place."""
        if node in self._drawn:
            self._drawn[heir] = self._drawn[node]

    def dump(self) -> list[list[Any]]:
        """Return the places that are not centers, as JSON values."""
        return [[node, place and list(place)] for node, place in self._drawn.items()]

    def load(self, state: list[list[Any]]) -> None:
        """Take back what `dump` gave."""
        self._drawn = {node: place and tuple(place) for node, place in state}
