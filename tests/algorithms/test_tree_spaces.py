"""Trees and their searches on spaces with conditions and constraints, and after what people give them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.algorithms import KnownScore, Observation, Suggestion, create
from orchestrator.algorithms.surrogate import process as surrogate
from orchestrator.algorithms.tree.bamsoo import BaMSOO
from orchestrator.algorithms.tree.cells import Tree
from orchestrator.algorithms.tree.places import Places
from orchestrator.algorithms.tree.soo import SOO
from orchestrator.space import Point, SearchSpace
from orchestrator.space.space import Choice, Float, Int, Parameter
from tests.algorithms.playing import play
from tests.fakes.spaces import everything, finite_spaces, frozen

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "soo": ("soo", {}),
    "soo-sequential": ("soo", {"sequential": True}),
    "soo-published": ("soo", {"h_max": "sqrt"}),
    "bamsoo": ("bamsoo", {}),
    "bamsoo-imgpo": ("bamsoo", {"rule": "imgpo", "beta": 0.3}),
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)
CUBE: dict[str, Parameter] = {name: Float(0, 1) for name in "abcde"}
SMALL = {  # feasible parts of about 1e-3, none of them at the middle
    "slab": SearchSpace(CUBE, {}, ["0.2495 <= a - b <= 0.2502"]),
    "corner": SearchSpace(CUBE, {}, ["a + b + c + d + e <= 0.65"]),
    "box": SearchSpace({n: CUBE[n] for n in "abc"}, {}, ["a <= 0.1", "b >= 0.9", "0.31 <= c <= 0.41"]),
    "conditional": SearchSpace(
        {
            "optimizer": Choice(("adam", "sgd")),
            "momentum": Float(0, 1, when={"optimizer": "sgd"}),
            "rate": Float(0, 1),
            "rank": Int(1, 64),
        },
        {},
        ["rank <= 64 * rate - 59", "momentum <= rate / 10"],
    ),
}


def build(variant: str, space: SearchSpace, budget: int) -> SOO | BaMSOO:
    name, options = VARIANTS[variant]
    algorithm = create(name, space, seed=0, budget=budget, capacity=4, **options)
    assert isinstance(algorithm, SOO | BaMSOO)
    return algorithm


def bowl(suggestion: Suggestion) -> float:
    return -sum((x - 0.3) ** 2 for x in suggestion.point)


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Point], list[float]]]:
    """A process that thinks the same of every point, less than of the best one; and what it was shown."""
    shown: list[tuple[list[Point], list[float]]] = []

    class Flat:
        def __init__(self, best: float) -> None:
            self.best = best

        def posterior(self, points: Sequence[Point]) -> tuple[Any, Any]:
            return np.full(len(points), self.best - 1.0), np.full(len(points), 1e-3)

    def fit(points: Sequence[Point], scores: Sequence[float], *_: Any, **__: Any) -> Flat:
        shown.append((list(points), list(scores)))
        return Flat(max(scores))

    monkeypatch.setattr(surrogate, "fit", fit)
    return shown


# -- every feasible configuration ---------------------------------------------------------------------------


@settings(deadline=None)
@given(finite_spaces())
def test_a_tree_ends_and_has_every_feasible_configuration_at_a_center(space: SearchSpace) -> None:
    tree = Tree(space.dimension, space.divisible)
    while len(leaves := np.flatnonzero(tree.open)):
        tree.expand(int(leaves[0]))
        assert len(tree) < 20_000
    centers = [tree.center(int(leaf)) for leaf in np.flatnonzero(tree.leaf)]
    found = {frozen(space.decode(center)) for center in centers if space.feasible(center)}
    assert found == {frozen(one) for one in everything(space)}


@every_variant
@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(space=finite_spaces(), seed=st.integers(0, 9))
def test_a_search_visits_every_feasible_configuration_once_and_nothing_else(
    flat: object, variant: str, space: SearchSpace, seed: int
) -> None:
    scores = np.random.default_rng(seed)
    played = play(build(variant, space, 10_000), lambda _: scores.random() if scores.random() < 0.8 else None)
    visited = [frozen(space.decode(point)) for point in played.points]
    assert len(visited) == len(set(visited))
    assert set(visited) == {frozen(one) for one in everything(space)}


# -- a small feasible part ----------------------------------------------------------------------------------


@every_variant
@pytest.mark.parametrize("space", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("score", [bowl, lambda _: None, lambda _: 0.5], ids=["bowl", "failing", "constant"])
def test_the_budget_is_spent_where_little_is_feasible(
    flat: object, variant: str, space: SearchSpace, score: Callable[[Suggestion], float | None]
) -> None:
    played = play(build(variant, space, 40), score)
    assert len(set(played.points)) == len(played.points) == 40
    assert all(space.feasible(point) for point in played.points)


@pytest.mark.parametrize("variant", ["soo", "bamsoo"])
def test_the_search_gets_close_to_an_optimum_on_the_border(variant: str) -> None:
    space = SearchSpace({"a": Float(0, 1), "b": Float(0, 1)}, {}, ["a + b >= 1.37"])
    played = play(build(variant, space, 60), lambda s: -(s.point[0] ** 2) - s.point[1] ** 2)
    assert played.best[-1] == pytest.approx(-(1.37**2) / 2, abs=2e-2)


@every_variant
def test_cells_without_a_feasible_point_are_divided_in_breadth(
    monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    monkeypatch.setattr("orchestrator.algorithms.tree.places.TRIES", 1)
    algorithm = build(variant, SMALL["box"], 40)
    algorithm.ask(1)
    depths = [int(algorithm.sweep.tree.depth[node]) for node in algorithm.sweep.tree.expanded]
    assert len(depths) > 20
    assert depths == sorted(depths)


def test_a_cell_is_scored_at_its_center_or_at_a_feasible_point_inside_or_nowhere() -> None:
    space = SearchSpace({"a": Float(0, 1), "b": Float(0, 1)}, {}, ["a <= 0.4"])
    tree = Tree(2, space.divisible)
    places = Places(space, tree)
    places.enter(0)
    place = places.of(0)
    assert place is not None
    assert space.feasible(place)
    left, middle, right = children = tree.expand(0)
    for child in children:
        places.enter(child)
    assert places.of(left) == tree.center(left)
    inside = places.of(middle)
    assert inside is not None
    assert 1 / 3 <= inside[0] <= 0.4
    assert places.of(right) is None
    assert places.nowhere == [right]
    assert places.heir(0, children) == (None if place[0] < 1 / 3 else middle), "the left one has its center"
    assert places.heir(left, tree.expand(left)) == 5
    assert places.heir(right, tree.expand(right)) is None
    again = Places(space, tree)
    again.load(json.loads(json.dumps(places.dump())))
    assert [again.of(node) for node in range(4)] == [places.of(node) for node in range(4)]


# -- the laws, here too -------------------------------------------------------------------------------------


@every_variant
@pytest.mark.parametrize("space", SMALL.values(), ids=SMALL)
def test_no_split_into_batches_and_no_restart_changes_the_search(
    flat: object, variant: str, space: SearchSpace
) -> None:
    first = space.sample(np.random.default_rng(3), 3)

    def fresh() -> SOO | BaMSOO:
        algorithm = build(variant, space, 25)
        algorithm.enqueue(first)
        return algorithm

    expected = play(fresh(), bowl).points
    assert len(expected) == 25
    assert play(fresh(), bowl, limit=1).points == expected
    algorithm, asked = fresh(), list[Suggestion]()
    while batch := algorithm.ask(2):
        asked += batch
        algorithm.tell([Observation(s.id, bowl(s)) for s in reversed(batch)])
        state = json.loads(json.dumps(algorithm.dump(), allow_nan=False))
        algorithm = build(variant, space, 25)
        algorithm.load(state)
        assert algorithm.dump() == state
    assert [s.point for s in asked] == expected


# -- enqueued and known -------------------------------------------------------------------------------------

PLANE = SearchSpace({"a": Float(0, 1), "b": Float(0, 1)})


@every_variant
def test_what_is_enqueued_comes_first_and_the_root_with_it(flat: object, variant: str) -> None:
    algorithm = build(variant, PLANE, 20)
    given_first = [(0.1, 0.2), (0.9, 0.9)]
    algorithm.enqueue(given_first)
    batch = algorithm.ask(10)
    assert [s.point for s in batch] == [*given_first, (0.5, 0.5)]
    algorithm.tell([Observation(s.id, bowl(s)) for s in batch])
    assert len(play(algorithm, bowl).points) == 17


@every_variant
def test_what_is_enqueued_later_comes_after_what_was_planned(flat: object, variant: str) -> None:
    algorithm = build(variant, PLANE, 20)
    algorithm.tell([Observation(s.id, bowl(s)) for s in algorithm.ask(1)])
    planned = algorithm.ask(1)
    algorithm.enqueue([(0.1, 0.2)])
    rest = algorithm.ask(20)
    assert rest[-1].point == (0.1, 0.2)
    algorithm.tell([Observation(s.id, bowl(s)) for s in planned + rest])
    played = play(algorithm, bowl)
    assert len(played.points) == 20 - 2 - len(rest)
    assert (0.1, 0.2) not in played.points


@every_variant
@pytest.mark.parametrize("center", [(0.5, 0.5), (0.5 / 3, 0.5)])
def test_a_node_has_the_score_of_its_configuration_that_was_enqueued(
    flat: object, variant: str, center: Point
) -> None:
    algorithm = build(variant, PLANE, 30)
    algorithm.enqueue([center])
    played = play(algorithm, lambda s: 7.0 if s.point == center else bowl(s))
    assert played.points.count(center) == 1
    assert len(played.points) == 30
    nodes = [n for n in range(min(len(algorithm.sweep.tree), 13)) if algorithm.sweep.tree.center(n) == center]
    assert nodes
    assert all(algorithm.sweep.tree.score[node] == 7.0 for node in nodes)


@every_variant
@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(space=finite_spaces(), data=st.data())
def test_a_finite_space_is_searched_once_whatever_was_enqueued(
    flat: object, variant: str, space: SearchSpace, data: st.DataObject
) -> None:
    configurations = everything(space)
    some = data.draw(st.lists(st.sampled_from(configurations), unique_by=frozen, max_size=5))
    algorithm = build(variant, space, 10_000)
    algorithm.enqueue([space.encode(configuration) for configuration in some])
    visited = [frozen(space.decode(point)) for point in play(algorithm, bowl).points]
    assert visited[: len(some)] == [frozen(one) for one in some]
    assert len(visited) == len(set(visited)) == len(configurations)


def test_the_process_is_shown_what_was_enqueued_and_what_is_known_elsewhere(
    flat: list[tuple[list[Point], list[float]]],
) -> None:
    space = SearchSpace({"a": Int(1, 4), "b": Float(0, 1)})
    algorithm = build("bamsoo", space, 5)
    algorithm.learn([KnownScore((0.01, 0.25), 3.0), KnownScore((0.99, 0.75), 4.0, 0.1)])
    algorithm.enqueue([(0.3, 0.9)])
    play(algorithm, lambda s: None if s.id == 2 else -float(s.id))
    points, scores = flat[-1]
    assert (points[0], scores[0]) == ((0.375, 0.9), -0.0)
    assert points[-2:] == [(0.125, 0.25), (0.875, 0.75)]
    assert scores[-2:] == [3.0, 4.0]
    assert isinstance(algorithm, BaMSOO)
    assert algorithm.bounded.process is not None
    assert algorithm.bounded.process.best == 4.0


def test_what_is_known_elsewhere_turns_the_search_to_it() -> None:
    def score(point: Point) -> float:
        return -((point[0] - 0.83) ** 2) - (point[1] - 0.12) ** 2

    grid = [(x / 6, y / 6) for x in range(7) for y in range(7)]
    cold, warm = build("bamsoo", PLANE, 12), build("bamsoo", PLANE, 12)
    warm.learn([KnownScore(point, score(point)) for point in grid])
    error_cold, error_warm = (-play(one, lambda s: score(s.point)).best[-1] for one in (cold, warm))
    assert error_warm < 0.2 * error_cold


def test_soo_ignores_what_is_known_elsewhere() -> None:
    algorithm = build("soo", PLANE, 12)
    algorithm.learn([KnownScore((0.1, 0.1), 9.0)])
    assert play(algorithm, bowl).points == play(build("soo", PLANE, 12), bowl).points


def test_a_failure_is_no_better_than_what_is_known_elsewhere(flat: object) -> None:
    algorithm = build("bamsoo", PLANE, 3)
    algorithm.learn([KnownScore((0.1, 0.1), -9.0)])
    algorithm.tell([Observation(s.id, None) for s in algorithm.ask(1)])
    algorithm.ask(1)
    assert algorithm.sweep.tree.score[0] == -9.0
