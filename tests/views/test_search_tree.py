"""The tree of a study as `orchestrator tree` reads it: against the algorithm that grew it, and by hand."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.algorithms import Algorithm, Observation, create
from orchestrator.algorithms.tree.soo import SOO
from orchestrator.contract.assignment import Configuration
from orchestrator.errors import InputError
from orchestrator.space import Point, SearchSpace
from orchestrator.space.space import Choice, Float, Int
from orchestrator.views import tree_view
from orchestrator.views.search_tree import Kind, NodeState, Partition
from orchestrator.views.tree import lines
from tests.fakes.builders import Story
from tests.fakes.studies import orchestrator, run_study, write_synthetic_study

SPACE = SearchSpace(
    {
        "rate": Float(1e-6, 1e-3, log=True),
        "rank": Int(1, 9),
        "optimizer": Choice(("adam", "sgd", "lion")),
    }
)
LINE = SearchSpace({"x": Float(0.0, 9.0)})


def loss(configuration: Configuration) -> float:
    rate = (math.log10(float(configuration["rate"])) + 5.2) ** 2
    return rate + 0.1 * float(configuration["rank"]) + (configuration["optimizer"] == "sgd")


def asked(story: Story, state: dict[str, Any] | None, points: dict[int, Point], space: SearchSpace) -> Story:
    """A round of suggestions: id -> point."""
    story.add("state", state=state)
    trials = [
        {"suggestion": i, "point": list(x), "configuration": space.decode(x), "note": {}, "shares": None}
        for i, x in points.items()
    ]
    return story.add("asked", trials=trials)


def played(
    name: str, space: SearchSpace, score: Callable[[Configuration], float | None], rounds: int
) -> tuple[Partition, Algorithm]:
    """A study of so many rounds, all of them told, with the state after the last ask before that."""
    algorithm = create(name, space, seed=0, budget=1000, capacity=8)
    story = Story()
    for _ in range(rounds):
        batch = algorithm.ask(100)
        asked(story, algorithm.dump(), {s.id: s.point for s in batch}, space)
        for suggestion in batch:
            value = score(space.decode(suggestion.point))
            if value is None:
                story.fail(suggestion.id, "diverged")
            else:
                story.score(suggestion.id, value)
            algorithm.tell([Observation(suggestion.id, None if value is None else -value)])
    return Partition(story.history, space), algorithm


def by_hand(
    state: dict[str, Any] | None, values: dict[int, float | None], points: dict[int, Point]
) -> Partition:
    """A study on `LINE` in this state; `values`: trial -> loss, None for a failure."""
    story = asked(Story(algorithm="soo"), state, points, LINE)
    for trial, value in values.items():
        if value is None:
            story.fail(trial, "diverged")
        else:
            story.score(trial, value)
    return Partition(story.history, LINE)


def state_of(expanded: list[int], sources: list[int], **more: Any) -> dict[str, Any]:
    return {
        "tree": {"expanded": expanded, "sources": sources, "bounds": [None] * len(sources)},
        "places": [],
        **more,
    }


def text_of(partition: Partition, width: int = 100) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(tree_view(partition))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_what_is_read_is_what_the_algorithm_goes_by() -> None:
    partition, algorithm = played("soo", SPACE, loss, 8)
    assert isinstance(algorithm, SOO)
    algorithm.sweep.settle(algorithm._told, [])
    tree = algorithm.sweep.tree
    assert len(partition.nodes) == len(tree) > 30
    for node in partition.nodes:
        assert node.kind is Kind.REAL
        assert node.value == pytest.approx(-tree.score[node.number])
        assert node.point == tree.center(node.number)
        assert node.value == pytest.approx(loss(SPACE.decode(node.point)))
    for depth, nodes in enumerate(partition.depths):
        best = partition.best_open(nodes)
        assert (best and best.number) == tree.best(depth)
        assert (
            sum(node.state is NodeState.OPEN for node in nodes) == (tree.open & (tree.depth == depth)).sum()
        )


def test_the_path_narrows_one_parameter_at_a_time_down_to_the_incumbent() -> None:
    partition, _ = played("soo", SPACE, loss, 8)
    incumbent, path = partition.incumbent, partition.path
    assert incumbent is not None
    assert incumbent.point is not None
    assert partition.summary.incumbent is incumbent
    assert [node.depth for node in path] == list(range(len(path)))
    assert path[-1].state is not NodeState.EXPANDED
    assert path[-1].value == min(node.value for node in partition.nodes if node.value is not None)
    for parent, node in itertools.pairwise(path):
        assert node.parent == parent.number
        assert node.holds(incumbent.point)
        changed = [name for name in SPACE.names if partition.side(parent, name) != partition.side(node, name)]
        assert changed == [node.axis]
        assert partition.evaluated_in(node) <= partition.evaluated_in(parent)
    assert partition.evaluated_in(path[0]) == len(partition.summary.history.spent)


def test_cells_in_natural_units() -> None:
    partition, _ = played("soo", SPACE, loss, 8)
    root = partition.nodes[0]
    assert partition.side(root, "rate") == pytest.approx((1e-6, 1e-3))
    assert partition.side(root, "rank") == (1, 9)
    assert partition.side(root, "optimizer") == ["adam", "sgd", "lion"]
    split = {n.axis: partition.children(n) for n in reversed(partition.nodes) if partition.children(n)}
    thirds = [partition.side(child, "rate") for child in partition.children(root)]
    assert [end for side in thirds for end in side] == pytest.approx([1e-6, 1e-5, 1e-5, 1e-4, 1e-4, 1e-3])
    assert [partition.side(child, "rank") for child in split["rate"]] == [(1, 3), (4, 6), (7, 9)]
    assert [partition.side(child, "optimizer") for child in split["rank"]] == [["adam"], ["sgd"], ["lion"]]


def test_bounds_are_told_from_scores_and_in_the_objectives_sign() -> None:
    partition, algorithm = played("bamsoo", SearchSpace({"x": Float(0, 1), "y": Float(0, 1)}), bowl, 5)
    state = json.loads(json.dumps(algorithm.dump(), allow_nan=False))["tree"]
    bounds = [node for node in partition.nodes if node.kind is Kind.BOUND]
    assert bounds
    assert [node.number for node in bounds] == [i for i, source in enumerate(state["sources"]) if source < 0]
    assert [node.value for node in bounds] == [-state["bounds"][node.number] for node in bounds]
    assert all(node.trial is None for node in bounds)
    assert "(bound)" in "".join(lines(partition, None))


def bowl(configuration: Configuration) -> float:
    return float(configuration["x"]) ** 2 + float(configuration["y"]) ** 2


def test_before_anything_is_asked_there_is_a_root_without_a_score() -> None:
    story = Story(algorithm="soo")
    partition = Partition(story.history, LINE)
    assert [(node.kind, node.state) for node in partition.nodes] == [(Kind.NONE, NodeState.OPEN)]
    assert "none yet" in text_of(partition)
    assert partition.facts()["incumbent"] is None


@pytest.mark.parametrize(("values", "kind"), [({}, Kind.PENDING), ({0: None}, Kind.FAILED)])
def test_a_root_that_is_pending_or_failed(values: dict[int, float | None], kind: Kind) -> None:
    partition = by_hand(state_of([], [0]), values, {0: (0.5,)})
    assert [(node.kind, node.value, node.trial) for node in partition.nodes] == [(kind, None, 0)]
    assert "none yet" in text_of(partition)
    assert kind in next(lines(partition, None))
    assert partition.facts()["depths"] == [{"depth": 0, "nodes": 1, "open": 1, "best_open": None}]


def test_what_is_planned_and_not_asked_is_pending_without_a_trial() -> None:
    partition = by_hand(state_of([0], [0, 1, 0, 2]), {0: 1.0}, {0: (0.5,), 1: (1 / 6,)})
    assert [(n.kind, n.trial) for n in partition.nodes[1:]] == [
        (Kind.PENDING, 1),
        (Kind.REAL, 0),
        (Kind.PENDING, None),
    ]


def test_the_incumbent_need_not_lie_at_a_center() -> None:
    """`fullsweep` fills its rounds with points of its own choosing."""
    points: dict[int, Point] = {0: (0.5,), 1: (1 / 6,), 2: (5 / 6,), 3: (0.7,), 4: (1.0,)}
    partition = by_hand(state_of([0], [0, 1, 0, 2]), {0: 3.0, 1: 4.0, 2: 5.0, 3: 1.0, 4: 2.0}, points)
    assert [node.number for node in partition.path] == [0, 3]
    assert partition.path[-1].value == 5.0
    assert partition.evaluated_in(partition.path[-1]) == 3
    assert "trial 3: loss 1" in text_of(partition)


def test_a_cell_without_a_feasible_point_and_one_that_is_scored_off_its_center() -> None:
    state = state_of([0], [0, -1, 0, 1], places=[[1, None], [3, [0.9]]])
    state["tree"]["bounds"][1] = -7.0  # what it counts as is no bound
    partition = by_hand(state, {0: 1.0, 1: 2.0}, {0: (0.5,), 1: (0.9,)})
    assert [node.kind for node in partition.nodes] == [Kind.REAL, Kind.INFEASIBLE, Kind.REAL, Kind.REAL]
    assert partition.nodes[3].point == (0.9,)
    assert partition.facts()["nodes"][3]["configuration"] == {"x": pytest.approx(8.1)}


def test_a_score_that_is_shared_is_shown_with_it() -> None:
    story = asked(Story(algorithm="soo"), state_of([0], [0, 1, 0, 2]), {0: (0.5,), 1: (0.2,)}, LINE)
    story.add("state", state=state_of([0], [0, 1, 0, 2]))
    trial = {"suggestion": 2, "point": [0.8], "configuration": {"x": 1.8}, "note": {}, "shares": 1}
    story.add("asked", trials=[trial]).score(0, 1.0).score(1, 2.5)
    partition = Partition(story.history, LINE)
    assert (partition.nodes[3].value, partition.nodes[3].trial) == (2.5, 2)


def test_every_node_has_a_line_below_its_parents() -> None:
    partition, _ = played("soo", SPACE, loss, 6)
    every = list(lines(partition, None))
    assert len(every) == len(partition.nodes)
    assert len(list(lines(partition, 1))) == 4
    assert sum("★" in line for line in every) == 1
    indents = [(len(line) - len(line.lstrip(" "))) // 2 for line in every]
    assert sorted(indents) == sorted(node.depth for node in partition.nodes)
    assert all(below <= above + 1 for above, below in itertools.pairwise(indents))


def test_the_overview_fits_its_width_however_deep_the_tree() -> None:
    points: dict[int, Point] = {i: (0.5 + 3.0**-i / 3 * (i > 0),) for i in range(30)}
    expanded = [0] + [3 * i + 2 for i in range(28)]
    sources = [0] * (1 + 3 * len(expanded))
    text = text_of(by_hand(state_of(expanded, sources), dict.fromkeys(points, 1.0), points))
    assert max(map(len, text.splitlines())) <= 100
    assert len(text.splitlines()) < 60
    assert "⋮" in text
    assert "★ 29" in text


def test_an_algorithm_without_a_tree_is_named() -> None:
    story = asked(Story(algorithm="lhs"), {"points": []}, {0: (0.5,)}, LINE)
    with pytest.raises(InputError, match="lhs, keeps no tree"):
        Partition(story.history, LINE)


def test_the_command(tmp_path: Path) -> None:
    run = run_study(tmp_path, write_synthetic_study(tmp_path, evaluations=9))
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "torch.py").write_text("raise SystemExit('torch was imported')")
    without_torch = {"PYTHONPATH": str(trap)}
    done = orchestrator("tree", run.path, "--json", cwd=tmp_path, environment=without_torch)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    status = json.loads(orchestrator("status", run.path, "--json", cwd=tmp_path).stdout)
    assert facts["incumbent"]["trial"] == status["incumbent"]["trial"]
    cell = facts["nodes"][facts["incumbent"]["path"][-1]]["cell"]
    for name, value in status["incumbent"]["configuration"].items():
        assert cell[name]["low"] <= value <= cell[name]["high"]
    shown = orchestrator("tree", run.path, cwd=tmp_path).stdout
    assert f"trial {facts['incumbent']['trial']}" in shown
    every = orchestrator("tree", run.path, "--all", cwd=tmp_path).stdout
    assert len(every.splitlines()) == len(facts["nodes"])
    assert len(orchestrator("tree", run.path, "--depth", "1", cwd=tmp_path).stdout.splitlines()) == 4


def test_the_command_on_a_study_without_a_tree(tmp_path: Path) -> None:
    run = run_study(tmp_path, write_synthetic_study(tmp_path, algorithm="lhs", evaluations=2))
    done = orchestrator("tree", run.path, cwd=tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "lhs, keeps no tree" in line
