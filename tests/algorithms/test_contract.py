"""The laws of `orchestrator/algorithms/base.py`, for every algorithm on every kind of space."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.algorithms import ALGORITHMS, Algorithm, KnownScore, Observation, Suggestion, create
from orchestrator.space import Point, SearchSpace
from orchestrator.space.space import Choice, Float, Int
from tests.algorithms.playing import play

SPACES = {
    "floats": SearchSpace({"rate": Float(1e-6, 1e-2, log=True), "dropout": Float(0, 0.5)}),
    "mixed": SearchSpace(
        {
            "rank": Int(2, 64),
            "alpha": Int(1, 256, log=True),
            "rate": Float(1e-10, 1e-1, log=True),
            "layers": Choice(("q", "qv", "qkv")),
            "bias": Choice((True, False)),
        }
    ),
    "line": SearchSpace({"x": Float(0, 1)}),
    "conditional": SearchSpace(
        {
            "rank": Int(2, 64, log=True),
            "alpha": Int(1, 64),
            "optimizer": Choice(("adam", "sgd", "lion")),
            "momentum": Float(0, 0.99, when={"optimizer": "sgd"}),
        },
        constraints=("alpha <= 2 * rank",),
    ),
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ALGORITHMS},
    "soo-published": ("soo", {"h_max": "sqrt"}),
    "soo-sequential": ("soo", {"sequential": True}),
    "bamsoo-imgpo": ("bamsoo", {"rule": "imgpo", "beta": 0.3}),
    "bamsoo-bold": ("bamsoo", {"beta": 0.05, "kernel": "rbf"}),
    "mads-sequential": ("mads", {"sequential": True}),
}
# What these ask depends on what was told by then: law 6 is another one for them.
ASYNCHRONOUS: dict[str, tuple[str, dict[str, Any]]] = {
    f"{name}-asynchronous": (name, {"asynchronous": True}) for name in ("fullsweep", "bo", "tpe")
}
BUDGET = 14
every_algorithm = pytest.mark.parametrize("variant", VARIANTS)
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def build(variant: str, space: SearchSpace, *, budget: int = BUDGET, seed: int = 7) -> Algorithm:
    name, options = (VARIANTS | ASYNCHRONOUS)[variant]
    return create(name, space, seed=seed, budget=budget, capacity=4, **options)


def smooth(suggestion: Suggestion) -> float:
    return -sum((x - 0.2 - 0.1 * axis) ** 2 for axis, x in enumerate(suggestion.point))


def rough(suggestion: Suggestion) -> float:
    """An arbitrary function of the point."""
    digest = hashlib.sha256(repr(suggestion.point).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def replay(state: dict[str, Any]) -> dict[str, Any]:
    """`state` as the ledger keeps it: JSON text with finite numbers."""
    restored: dict[str, Any] = json.loads(json.dumps(state, allow_nan=False))
    return restored


@every_algorithm
@every_space
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_interleaving_changes_the_search(variant: str, space: SearchSpace, data: st.DataObject) -> None:
    """Laws 1, 2, 4, 5, 6, 7: any limits, any order and split of tells, written down at any moment."""
    failing = data.draw(st.sets(st.integers(0, BUDGET - 1)), label="failing")

    def score(suggestion: Suggestion) -> float | None:
        return None if suggestion.id in failing else rough(suggestion)

    expected = play(build(variant, space), score).points
    algorithm, asked, pending = build(variant, space), list[Suggestion](), list[Suggestion]()
    while True:
        limit = data.draw(st.integers(1, 6))
        batch = algorithm.ask(limit)
        assert len(batch) <= limit
        assert [s.id for s in batch] == list(range(len(asked), len(asked) + len(batch)))
        asked += batch
        pending = data.draw(st.permutations(pending + batch))
        if not pending:
            break
        told = data.draw(st.integers(0 if batch else 1, len(pending)))
        algorithm.tell([Observation(s.id, score(s)) for s in pending[:told]])
        pending = pending[told:]
        if data.draw(st.booleans()):
            state = replay(algorithm.dump())
            algorithm = build(variant, space)
            algorithm.load(state)
            assert replay(algorithm.dump()) == state
    assert [s.point for s in asked] == expected
    assert len(expected) == BUDGET
    assert all(len(point) == space.dimension and 0 <= min(point) <= max(point) <= 1 for point in expected)
    assert all(space.feasible(point) for point in expected)


@pytest.mark.parametrize("variant", ASYNCHRONOUS)
@every_space
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_equal_histories_give_equal_studies(variant: str, space: SearchSpace, data: st.DataObject) -> None:
    """Laws 1, 2, 4, 5, 6, 7 of an asynchronous search: whoever asks and tells the same is asked the same."""
    failing = data.draw(st.sets(st.integers(0, BUDGET - 1)), label="failing")
    first, again = build(variant, space), build(variant, space)
    asked, pending = list[Suggestion](), list[Suggestion]()
    while True:
        limit = data.draw(st.integers(1, 4))
        batch = first.ask(limit)
        assert batch == again.ask(limit)
        assert len(batch) == min(limit, BUDGET - len(asked)), "it never waits"
        assert [s.id for s in batch] == list(range(len(asked), len(asked) + len(batch)))
        assert all(space.feasible(s.point) for s in batch)
        asked, pending = asked + batch, pending + batch
        if not pending:
            break
        told = data.draw(st.integers(0 if batch else 1, len(pending)))
        news = [Observation(s.id, None if s.id in failing else rough(s)) for s in pending[:told]]
        first.tell(news)
        for observation in data.draw(st.permutations(news)):
            again.tell([observation])
        pending = pending[told:]
        if data.draw(st.booleans()):
            state = replay(again.dump())
            again = build(variant, space)
            again.load(state)
            assert replay(again.dump()) == state == replay(first.dump())
    assert len(asked) == BUDGET


@every_algorithm
def test_what_is_enqueued_is_asked_in_its_turn(variant: str) -> None:
    space = SPACES["mixed"]
    algorithm, twin = build(variant, space), build(variant, space)
    first = [space.snap((x, 0.2, 0.7, 0.4, 0.9)) for x in (0.1, 0.6)]
    later = space.snap((0.9, 0.9, 0.1, 0.9, 0.1))
    for one in (algorithm, twin):
        one.enqueue(first)
    batch = algorithm.ask(2)
    assert [s.point for s in batch] == first == [s.point for s in twin.ask(2)]
    algorithm.enqueue([later])
    state = replay(algorithm.dump())
    algorithm = build(variant, space)
    algorithm.load(state)
    algorithm.tell([Observation(s.id, smooth(s)) for s in batch])
    points = play(algorithm, smooth).points
    assert points.count(later) == 1
    assert len(points) + 2 == BUDGET


@pytest.mark.parametrize(("name", "options"), [("fullsweep", {"n_init": 4}), ("bo", {"n_init": 4})])
def test_what_is_enqueued_has_places_of_a_round_and_costs_none(name: str, options: dict[str, Any]) -> None:
    algorithm = create(name, SPACES["floats"], seed=1, budget=20, capacity=4, **options)
    for wanted in ([], [(0.31, 0.42)], [(0.11, 0.12), (0.91, 0.92)], []):
        algorithm.enqueue(wanted)
        batch = algorithm.ask(4)
        assert len(batch) == 4
        assert [s.point for s in batch[: len(wanted)]] == wanted
        algorithm.tell([Observation(s.id, smooth(s)) for s in batch])


@every_algorithm
def test_what_is_known_from_elsewhere_is_taken(variant: str) -> None:
    space = SPACES["floats"]
    algorithm = build(variant, space)
    algorithm.learn([KnownScore((0.3, 0.4), 0.7), KnownScore((0.8, 0.1), 0.2, 0.05)])
    with pytest.raises(ValueError, match="no score"):
        algorithm.learn([KnownScore((0.3, 0.4), math.inf)])
    with pytest.raises(ValueError, match="no point"):
        algorithm.enqueue([(0.3, 1.4)])
    state = replay(algorithm.dump())
    other = build(variant, space)
    other.load(state)
    points = play(algorithm, smooth).points
    assert points == play(other, smooth).points
    assert len(points) == BUDGET
    with pytest.raises(ValueError, match="before the first ask"):
        algorithm.learn([KnownScore((0.3, 0.4), 0.7)])


CONTINUE = """
import json, sys
from tests.algorithms.test_contract import *
found = {}
for key, (variant, space, state) in json.load(sys.stdin).items():
    algorithm = build(variant, SPACES[space])
    algorithm.load(state)
    found[key] = continued(algorithm)
json.dump(found, sys.stdout)
"""


def continued(algorithm: Algorithm) -> list[Any]:
    """What is asked after whatever is pending was told, last one first."""
    state = algorithm.dump()
    asked = range(len(state["points"]) - len(state["notes"]))
    pending = [i for i in asked if i not in {told[0] for told in state["told"]}]
    points = [Suggestion(i, tuple(state["points"][i])) for i in reversed(pending)]
    assert points
    algorithm.tell([Observation(s.id, smooth(s)) for s in points])
    return [list(point) for point in play(algorithm, smooth).points]


def test_another_process_continues_exactly() -> None:
    cases, expected = {}, {}
    for variant in VARIANTS:
        for name, space in SPACES.items():
            algorithm = build(variant, space)
            batch = algorithm.ask(3)
            while batch[-1].id < 6:
                algorithm.tell([Observation(s.id, smooth(s)) for s in batch])
                batch = algorithm.ask(3)
            algorithm.tell([Observation(s.id, smooth(s)) for s in batch[1:]])
            key = f"{variant}/{name}"
            cases[key] = (variant, name, algorithm.dump())
            expected[key] = continued(algorithm)
            assert expected[key]
    run = subprocess.run(
        [sys.executable, "-c", CONTINUE],
        input=json.dumps(cases, allow_nan=False),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == expected


@every_algorithm
def test_the_order_of_tells_leaves_no_trace(variant: str) -> None:
    dumps = []
    for step in (1, -1):
        algorithm = build(variant, SPACES["floats"])
        for _ in range(4):
            batch = algorithm.ask(4)
            algorithm.tell([Observation(s.id, smooth(s)) for s in batch[::step]])
        dumps.append(json.dumps(algorithm.dump()))
    assert dumps[0] == dumps[1]


@every_algorithm
def test_equal_seeds_give_equal_studies(variant: str) -> None:
    first, second = (play(build(variant, SPACES["mixed"]), smooth).points for _ in range(2))
    assert first == second


@pytest.mark.parametrize("variant", ["lhs", "random"])
def test_distinct_seeds_give_distinct_studies(variant: str) -> None:
    first, second = (play(build(variant, SPACES["mixed"], seed=seed), smooth).points for seed in (1, 2))
    assert not set(first) & set(second)


@every_algorithm
@pytest.mark.parametrize("budget", [1, 2, 3, 10])
def test_exact_budget(variant: str, budget: int) -> None:
    space = SPACES["floats" if variant == "grid" else "mixed"]  # a grid needs a budget for its choices
    algorithm = build(variant, space, budget=budget)
    assert len(play(algorithm, smooth, limit=4).points) == budget
    assert algorithm.ask(5) == []


SCORES: dict[str, Callable[[Suggestion], float | None]] = {
    "all failed": lambda s: None,
    "first nine failed": lambda s: None if s.id < 9 else rough(s),
    "every other failed": lambda s: None if s.id % 2 else rough(s),
    "constant": lambda s: 0.25,
    "plateau": lambda s: float(s.point[0] > 0.9),
    "range 1e300": lambda s: (rough(s) - 0.5) * 1e300,
    "range 1e-300": lambda s: (rough(s) - 0.5) * 1e-300,
    "far off": lambda s: 1e9 + rough(s),
}


@every_algorithm
@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_no_scores_stop_it(variant: str, score: Callable[[Suggestion], float | None]) -> None:
    algorithm = build(variant, SPACES["floats"])
    assert len(play(algorithm, score).points) == BUDGET
    json.dumps(algorithm.dump(), allow_nan=False)


@every_algorithm
def test_standard_errors_are_taken(variant: str) -> None:
    algorithm = build(variant, SPACES["floats"])
    asked: list[Point] = []
    while batch := algorithm.ask(5):
        algorithm.tell([Observation(s.id, rough(s), None if s.id % 3 else 0.1) for s in batch])
        asked += [s.point for s in batch]
    assert len(asked) == BUDGET


@every_algorithm
def test_what_is_refused(variant: str) -> None:
    algorithm = build(variant, SPACES["floats"])
    (first,) = algorithm.ask(1)
    before = algorithm.dump()
    for wrong in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="a failure has None"):
            algorithm.tell([Observation(first.id, wrong)])
    for stderr in (math.nan, -0.1):
        with pytest.raises(ValueError, match=r"no score|negative"):
            algorithm.tell([Observation(first.id, 1.0, stderr)])
    for unknown in (first.id + 1, -1, 10_000):
        with pytest.raises(ValueError, match="not pending"):
            algorithm.tell([Observation(first.id, 1.0), Observation(unknown, 1.0)])
    with pytest.raises(ValueError, match="not pending"):
        algorithm.tell([Observation(first.id, 1.0), Observation(first.id, 1.0)])
    with pytest.raises(ValueError, match="at least one"):
        algorithm.ask(0)
    assert algorithm.dump() == before, "what is refused leaves no trace"
    algorithm.tell([Observation(first.id, 1.0)])
    with pytest.raises(ValueError, match="not pending"):
        algorithm.tell([Observation(first.id, 1.0)])
