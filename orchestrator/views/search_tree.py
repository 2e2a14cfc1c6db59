"""The partition that a tree search has made of its space, read from the record of a study.

The algorithm's last state holds the tree, in the layout that `algorithms/tree.py` names; what came of its
nodes since is in the trials. Everything here is in the user's terms: natural units, the objective's own sign.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from orchestrator.algorithms.tree.cells import NO_SCORE, K, Tree
from orchestrator.contract.assignment import Value
from orchestrator.errors import InputError
from orchestrator.record import History, Summary, Trial
from orchestrator.space import Point, SearchSpace
from orchestrator.space.space import Choice, Float, Parameter


class Kind(StrEnum):
    """What stands behind a node's score."""

    REAL = "real"  # an evaluation
    BOUND = "bound"  # the model's opinion, in place of an evaluation
    PENDING = "pending"  # an evaluation that is planned or under way
    FAILED = "failed"
    INFEASIBLE = "infeasible"  # no point in its cell was found that obeys the constraints
    NONE = "none"


class NodeState(StrEnum):
    """Whether a node may be expanded."""

    OPEN = "open"
    CLOSED = "closed"  # a leaf of one configuration: nothing is left to divide
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the tree and its cell.

    Attributes:
        number: 0 for the root; a node's children have higher ones.
        axis: the parameter on which the parent was split; None for the root.
        low, high: (d,) corners of the cell in the unit cube.
        point: (d,) the point that is scored: the center, or another in the cell if that breaks a constraint.
        value: of the objective, or the bound on it; None unless `kind` is real or bound.
        trial: whose evaluation it has or waits for.
    """

    number: int
    parent: int | None
    depth: int
    axis: str | None
    low: Point
    high: Point
    point: Point
    state: NodeState
    kind: Kind
    value: float | None
    trial: int | None

    def holds(self, point: Point) -> bool:
        """True if `point`: (d,) lies in the cell; the upper faces of the cube belong to it."""
        return all(
            low <= x and (x < high or high == 1)
            for x, low, high in zip(point, self.low, self.high, strict=True)
        )


class Partition:
    """The nodes of a tree, the evaluated points in their cells, and where the incumbent is."""

    def __init__(self, history: History, space: SearchSpace) -> None:
        """Raises: InputError: the algorithm keeps no tree."""
        self.summary, self.space = Summary(history), space
        state: dict[str, Any] = _ROOT if history.state is None else history.state
        if "tree" not in state:
            raise InputError(
                f"study {history.created.study}: its algorithm, {history.created.algorithm}, keeps no "
                "tree to show; fullsweep, bamsoo and soo do"
            )
        self._tree = Tree(space.dimension, space.divisible)
        self._tree.replay(state["tree"]["expanded"])
        self._sources, self._bounds = state["tree"]["sources"], state["tree"]["bounds"]
        self._places = dict(state.get("places", []))
        self._sign = history.created.objective.sign
        self._trials = {trial.suggestion: trial for trial in history.trials}
        parents = np.repeat(np.array(self._tree.expanded, dtype=np.int64), K)
        self._parents = [None, *parents.tolist()]
        self._order = {node: order for order, node in enumerate(self._tree.expanded)}

    @cached_property
    def nodes(self) -> list[Node]:
        """Every node, by number."""
        return [self._node(number) for number in range(len(self._tree))]

    def children(self, node: Node) -> list[Node]:
        """Its K children from low to high, or none."""
        if (order := self._order.get(node.number)) is None:
            return []
        return self.nodes[K * order + 1 : K * order + 1 + K]

    @property
    def incumbent(self) -> Trial | None:
        """The best trial; None if nothing has a score."""
        return self.summary.incumbent

    @cached_property
    def path(self) -> list[Node]:
        """From the root to the leaf whose cell holds the incumbent; empty without one."""
        if self.incumbent is None or self.incumbent.point is None:
            return []
        path = [self.nodes[0]]
        while children := self.children(path[-1]):
            path.append(next(child for child in children if child.holds(self.incumbent.point)))
        return path

    @property
    def depths(self) -> list[list[Node]]:
        """The nodes of each depth."""
        by_depth: list[list[Node]] = [[] for _ in range(1 + max(node.depth for node in self.nodes))]
        for node in self.nodes:
            by_depth[node.depth].append(node)
        return by_depth

    def best_open(self, nodes: Sequence[Node]) -> Node | None:
        """The open one that scores best, the oldest of several, whatever stands behind its score."""
        scored = [n for n in nodes if n.state is NodeState.OPEN and n.value is not None]
        return max(scored, key=lambda n: (self._sign * (n.value or 0.0), -n.number), default=None)

    def evaluated_in(self, node: Node) -> int:
        """How many trials of the search were evaluated in the node's cell, at its center or elsewhere."""
        done = (t for t in self.summary.history.spent if t.evaluation is not None and t.point is not None)
        return sum(node.holds(trial.point or ()) for trial in done)

    def side(self, node: Node, name: str) -> tuple[float, float] | list[Value]:
        """The cell on one parameter: the least and the greatest number, or the options of a choice.

        A whole number or an option lies in the cell that has the middle of its units; a cell with none shows
        its center's.
        """
        axis = self.space.names.index(name)
        return _side(self.space.parameters[name], node.low[axis], node.high[axis])

    def facts(self) -> dict[str, Any]:
        """Everything in JSON values: what `tree --json` prints."""
        history = self.summary.history
        return {
            "study": history.created.study,
            "algorithm": history.created.algorithm,
            "objective": history.created.objective.model_dump(mode="json"),
            "incumbent": {
                "trial": self.incumbent.number,
                "value": value.value if (value := self.summary.objective(self.incumbent)) else None,
                "depth": self.path[-1].depth,
                "path": [node.number for node in self.path],
            }
            if self.incumbent is not None and self.path
            else None,
            "depths": [
                {
                    "depth": depth,
                    "nodes": len(nodes),
                    "open": sum(node.state is NodeState.OPEN for node in nodes),
                    "best_open": best.number if (best := self.best_open(nodes)) else None,
                }
                for depth, nodes in enumerate(self.depths)
            ],
            "nodes": [self._facts(node) for node in self.nodes],
        }

    def _facts(self, node: Node) -> dict[str, Any]:
        sides = {name: self.side(node, name) for name in self.space.names}
        return {
            "id": node.number,
            "parent": node.parent,
            "depth": node.depth,
            "axis": node.axis,
            "low": list(node.low),
            "high": list(node.high),
            "cell": {
                name: {"options": side} if isinstance(side, list) else {"low": side[0], "high": side[1]}
                for name, side in sides.items()
            },
            "center": list(self._tree.center(node.number)),
            "place": list(node.point),
            "configuration": self.space.decode(node.point),
            "state": node.state,
            "score": {"kind": node.kind, "value": node.value},
            "trial": node.trial,
        }

    def _node(self, number: int) -> Node:
        parent = self._parents[number]
        low, high = (tuple(corner.tolist()) for corner in self._tree.cell(number))
        kind, value, trial = self._score(number)
        leaf = NodeState.OPEN if self._tree.open[number] else NodeState.CLOSED
        state = leaf if self._tree.leaf[number] else NodeState.EXPANDED
        axis = None if parent is None else self._axis(parent, number)
        point = tuple(self._places.get(number) or self._tree.center(number))
        depth = int(self._tree.depth[number])
        return Node(number, parent, depth, axis, low, high, point, state, kind, value, trial)

    def _axis(self, parent: int, child: int) -> str:
        sides = [high - low for low, high in (self._tree.cell(parent), self._tree.cell(child))]
        return self.space.names[int(np.argmax(sides[0] / sides[1]))]

    def _score(self, number: int) -> tuple[Kind, float | None, int | None]:
        source = self._sources[number]
        if source == NO_SCORE:
            if number in self._places and self._places[number] is None:
                return Kind.INFEASIBLE, None, None
            bound = self._bounds[number]
            return (Kind.NONE, None, None) if bound is None else (Kind.BOUND, self._sign * bound, None)
        if (trial := self._trials.get(source)) is None:
            return Kind.PENDING, None, None
        if self.summary.history.evaluation(trial) is None:
            return Kind.PENDING, None, trial.number
        if (metric := self.summary.objective(trial)) is None:
            return Kind.FAILED, None, trial.number
        return Kind.REAL, metric.value, trial.number


_ROOT: dict[str, Any] = {  # before anything was asked
    "tree": {"expanded": [], "sources": [NO_SCORE], "bounds": [None]}
}


def _side(parameter: Parameter, low: float, high: float) -> tuple[float, float] | list[Value]:
    if isinstance(parameter, Float):
        return parameter.decode(low), parameter.decode(high)
    first, last = (parameter.position(parameter.decode(u)) for u in (low, math.nextafter(high, low)))
    first += parameter.encode(parameter.values[first]) < low
    last -= parameter.encode(parameter.values[last]) >= high
    values = list(parameter.values[first : last + 1]) or [parameter.decode((low + high) / 2)]
    return values if isinstance(parameter, Choice) else (int(values[0]), int(values[-1]))
