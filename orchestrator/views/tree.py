"""The partition of a tree search as text: the way to the incumbent and what is open, or every node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.record.summary import number_text, value_text
from orchestrator.views.search_tree import Kind, Node, NodeState, Partition

Row = TypeVar("Row")
HEAD, TAIL = 6, 14  # rows of a long table that are shown
STYLES = {Kind.BOUND: "dim", Kind.PENDING: "cyan", Kind.FAILED: "red", Kind.INFEASIBLE: "red"}


def tree_view(partition: Partition) -> RenderableType:
    """Where the incumbent is, how it was come to, and the best open leaf of each depth."""
    parts: list[RenderableType] = [_head(partition)]
    if partition.path:
        parts += ["", Text("The way to the incumbent's cell", style="bold"), _way(partition)]
    if any(node.state is NodeState.OPEN for node in partition.nodes):
        parts += ["", Text("Open leaves, and the best of each depth", style="bold"), _open_leaves(partition)]
    return Group(*parts)


def lines(partition: Partition, deepest: int | None) -> Iterator[str]:
    """Every node down to depth `deepest` (None: to the end), a line each, children below their parent."""
    cell = {node.number for node in partition.path[-1:]}
    stack = [partition.nodes[0]]
    while stack:
        node = stack.pop()
        if deepest is None or node.depth < deepest:
            stack += reversed(partition.children(node))
        star = "★ " if node.number in cell else ""
        trial = "" if node.trial is None else f", trial {node.trial}"
        values = ", ".join(_values(partition, node))
        yield (
            f"{'  ' * node.depth}{star}{_split(partition, node)}: {_value(node)}{trial}, {node.state}"
            f"  [node {node.number} at {values}]"
        )


def _head(partition: Partition) -> Table:
    created, summary = partition.summary.history.created, partition.summary
    leaves = [node for node in partition.nodes if node.state is not NodeState.EXPANDED]
    opened = sum(node.state is NodeState.OPEN for node in leaves)
    table = Table.grid(padding=(0, 2))
    table.add_row("study", f"[bold]{escape(created.study)}[/] ({created.algorithm})")
    deepest = max(node.depth for node in partition.nodes)
    nodes, ends = _count(len(partition.nodes), "node"), _count(len(leaves), "leaf", "leaves")
    table.add_row("tree", f"{nodes} down to depth {deepest}; {ends}, {opened} open")
    if partition.incumbent is None or not partition.path:
        table.add_row("incumbent", "none yet: nothing was scored")
        return table
    cell = partition.path[-1]
    value = f"{escape(summary.metric)} {value_text(summary.objective(partition.incumbent))}"
    table.add_row("incumbent", f"trial {partition.incumbent.number}: [bold green]{value}[/]")
    table.add_row("its cell", f"node {cell.number}, depth {cell.depth}, {cell.state}")
    for name in partition.space.names:
        table.add_row("", f"{escape(name)} {escape(_range(partition, cell, name))}")
    return table


def _way(partition: Partition) -> Table:
    table = _table(partition, "node", "cell narrowed to")
    table.columns[2].justify = "left"
    table.add_column("trials\ninside", justify="right")
    for node in _shortened(partition.path):
        if node is None:
            table.add_row("⋮")
            continue
        star = "★ " if node is partition.path[-1] else ""
        table.add_row(
            f"{star}{node.depth}",
            str(node.number),
            escape(_split(partition, node)),
            *map(escape, _values(partition, node)),
            Text(_value(node), STYLES.get(node.kind, "")),
            "" if node.trial is None else str(node.trial),
            str(partition.evaluated_in(node)),
        )
    return table


def _open_leaves(partition: Partition) -> Table:
    table = _table(partition, "nodes", "open", "best")
    for row in _shortened(
        [nodes for nodes in partition.depths if any(n.state is NodeState.OPEN for n in nodes)]
    ):
        if row is None:
            table.add_row("⋮")
            continue
        counts = [str(row[0].depth), str(len(row)), str(sum(node.state is NodeState.OPEN for node in row))]
        if (best := partition.best_open(row)) is None:
            table.add_row(*counts, "none scored", style="dim")
            continue
        table.add_row(
            *counts,
            f"node {best.number}",
            *map(escape, _values(partition, best)),
            Text(_value(best), STYLES.get(best.kind, "")),
            "" if best.trial is None else str(best.trial),
            style="bold green" if best in partition.path else "",
        )
    return table


def _table(partition: Partition, *titles: str) -> Table:
    """A table whose rows are of nodes: depth, the titles, the point that is scored, its value, its trial."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    names = [name.replace("_", "\n").replace("/", "/\n") for name in partition.space.names]
    for title in ("depth", *titles, *map(escape, names), escape(partition.summary.metric), "trial"):
        table.add_column(title, justify="right")
    return table


def _shortened(rows: Sequence[Row]) -> list[Row | None]:
    """The first and the last rows, None for those between."""
    if len(rows) <= HEAD + TAIL + 1:
        return list(rows)
    return [*rows[:HEAD], None, *rows[-TAIL:]]


def _values(partition: Partition, node: Node) -> list[str]:
    """The values at the point where a node is scored; a parameter that does not exist there has none."""
    configuration = partition.space.decode(node.point)
    return [number_text(configuration.get(name, "–")) for name in partition.space.names]


def _split(partition: Partition, node: Node) -> str:
    """`lora_rank 44..64`: in what a cell differs from its parent's."""
    return "everything" if node.axis is None else f"{node.axis} {_range(partition, node, node.axis)}"


def _range(partition: Partition, node: Node, name: str) -> str:
    side = partition.side(node, name)
    if isinstance(side, list):
        return " or ".join(number_text(value) for value in side)
    low, high = (f"{end:.3g}" if isinstance(end, float) else str(end) for end in side)
    return low if low == high else f"{low}..{high}"


def _value(node: Node) -> str:
    if node.value is None:
        return "no score" if node.kind is Kind.NONE else node.kind
    return f"{node.value:.5g}" + (" (bound)" if node.kind is Kind.BOUND else "")


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
