from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.algorithms import Algorithm, KnownScore, Observation, Suggestion, create
from orchestrator.algorithms.wrapped.tpe_optuna import draw
from orchestrator.contract.assignment import Configuration
from orchestrator.space import Point, SearchSpace
from orchestrator.space.space import Choice, Float, Int
from tests.algorithms.playing import play

SQUARE = SearchSpace({"x": Float(0, 1), "y": Float(0, 1)})
TWELVE = SearchSpace({"rank": Int(1, 4), "layers": Choice(("q", "qv", "qkv"))})
MIXED = SearchSpace(
    {
        "rate": Float(1e-6, 1e-2, log=True),
        "rank": Int(2, 64),
        "alpha": Int(1, 256, log=True),
        "flag": Choice((1, True)),
    }
)


def tpe(space: SearchSpace = SQUARE, *, budget: int = 40, capacity: int = 8, **options: Any) -> Algorithm:
    return create("tpe", space, seed=3, budget=budget, capacity=capacity, **options)


def bowl(suggestion: Suggestion) -> float:
    return -sum((x - 0.3) ** 2 for x in suggestion.point)


def configurations(space: SearchSpace, points: list[Point]) -> set[tuple[object, ...]]:
    return {tuple(space.decode(point).values()) for point in points}


def observed(algorithm: Algorithm, batch: list[Suggestion]) -> None:
    algorithm.tell([Observation(s.id, bowl(s)) for s in batch])


def test_points_are_those_that_optuna_suggests() -> None:
    """The same study kept by hand, with the sampler as documented, gives the same points."""
    history: list[tuple[Point, float | None]] = [
        ((x, y), -((x - 0.3) ** 2) - (y - 0.6) ** 2)
        for x, y in np.random.default_rng(0).random((20, 2)).tolist()
    ]
    pending = [((0.3, 0.6), None), ((0.31, 0.61), None)]
    sampler = optuna.samplers.TPESampler(seed=5, multivariate=True, constant_liar=True, n_startup_trials=10)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    axes = {name: optuna.distributions.FloatDistribution(0, 1) for name in "xy"}
    for (x, y), score in history:
        study.enqueue_trial({"x": x, "y": y})
        study.tell(study.ask(axes), score)
    for (x, y), _ in pending:
        study.enqueue_trial({"x": x, "y": y})
        study.ask(axes)
    expected = [(t.params["x"], t.params["y"]) for t in (study.ask(axes) for _ in range(4))]
    assert draw(SQUARE, [*history, *pending], 4, seed=5, n_init=10) == expected
    assert draw(SQUARE, history, 4, seed=5, n_init=10) != expected, "pending points count"
    assert draw(SQUARE, [*history, *pending], 4, seed=6, n_init=10) != expected


def test_it_finds_more_than_its_uniform_start() -> None:
    found = [max(play(tpe(budget=60, n_init=n), bowl, limit=8).best) for n in (10, 60)]
    assert found[0] > found[1] / 4, "regret is negative"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_log_scales_integers_and_choices_are_learnt(asynchronous: bool) -> None:
    def score(suggestion: Suggestion) -> float:
        c = MIXED.decode(suggestion.point)
        rate, rank, alpha = float(c["rate"]), int(c["rank"]), int(c["alpha"])
        misses = (math.log10(rate) + 3, (rank - 10) / 20, math.log(alpha / 16))
        return (c["flag"] is True) - sum(miss**2 for miss in misses)

    algorithm = tpe(MIXED, budget=120, asynchronous=asynchronous)
    late = [MIXED.decode(point) for point in play(algorithm, score, limit=8).points[80:]]
    assert np.mean([c["flag"] is True for c in late]) > 0.7
    assert abs(np.median([np.log10(float(c["rate"])) for c in late]) + 3) < 0.5
    assert 4 <= np.median([int(c["alpha"]) for c in late]) <= 64


@pytest.mark.parametrize("options", [{}, {"asynchronous": True}], ids=["rounds", "asynchronous"])
@pytest.mark.parametrize("budget", [12, 30])
def test_a_space_of_twelve_configurations_is_searched_once_each(options: dict[str, Any], budget: int) -> None:
    algorithm = tpe(TWELVE, budget=budget, capacity=5, **options)
    played = play(algorithm, lambda s: None if s.id == 3 else bowl(s), limit=5)
    assert len(played.points) == 12
    assert len(configurations(TWELVE, played.points)) == 12
    assert algorithm.ask(5) == []


def test_what_was_learnt_is_repeated_last() -> None:
    algorithm = tpe(TWELVE, budget=30, capacity=5)
    learnt = [TWELVE.encode({"rank": rank, "layers": "q"}) for rank in (1, 2, 3, 4)]
    algorithm.learn([KnownScore(point, 1.0) for point in learnt])
    points = play(algorithm, bowl, limit=5).points
    assert len(points) == 12
    assert configurations(TWELVE, points[8:]) == configurations(TWELVE, learnt)


def test_what_was_learnt_replaces_the_uniform_start() -> None:
    known = [
        KnownScore((x, y), -((x - 0.3) ** 2) - (y - 0.3) ** 2)
        for x, y in np.random.default_rng(1).random((60, 2)).tolist()
    ]
    algorithm, blank = tpe(budget=8), tpe(budget=8)
    algorithm.learn(known)
    distances = [
        np.mean([np.hypot(x - 0.3, y - 0.3) for x, y in play(a, bowl).points]) for a in (algorithm, blank)
    ]
    assert distances[0] < distances[1] / 2


def test_rounds_are_full_and_wait_for_each_other() -> None:
    algorithm = tpe(budget=20, capacity=8)
    algorithm.enqueue([(0.5, 0.5)])
    first = algorithm.ask(100)
    assert [first[0].point, len(first)] == [(0.5, 0.5), 8]
    observed(algorithm, first[:7])
    assert algorithm.ask(100) == []
    observed(algorithm, first[7:])
    assert len(algorithm.ask(100)) == 8


def test_more_enqueued_than_a_round_holds() -> None:
    given = [(x / 10, 0.5) for x in range(10)]
    algorithm = tpe(budget=20, capacity=8)
    algorithm.enqueue(given)
    played = play(algorithm, bowl, limit=100)
    assert played.points[:10] == given
    assert played.batches == [10, 6, 4]


def test_asynchronous_refills_at_once_from_what_is_known() -> None:
    futures = []
    for score in (1.0, -1.0):
        algorithm = tpe(budget=60, capacity=8, asynchronous=True)
        batch = algorithm.ask(30)
        assert len(batch) == 30
        algorithm.tell([Observation(s.id, score * bowl(s)) for s in batch[:20]])
        futures.append([s.point for s in algorithm.ask(3)])
    assert len(futures[0]) == 3
    assert not set(futures[0]) & set(futures[1])


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_equal_histories_give_equal_asynchronous_studies(data: st.DataObject) -> None:
    """The same asks with the same told before each; order and split of tells, limits, dumps do not matter."""
    one, other = (tpe(MIXED, budget=30, asynchronous=True, n_init=5) for _ in range(2))
    pending: list[Suggestion] = []
    while True:
        size = data.draw(st.integers(1, 6))
        batch = one.ask(size)
        split = data.draw(st.integers(1, size))
        parts = other.ask(split)
        if split < size and len(parts) == split:
            parts += other.ask(size - split)
        assert parts == batch
        pending += batch
        if not pending:
            break
        told = data.draw(st.permutations(pending))[: data.draw(st.integers(1, len(pending)))]
        results = [Observation(s.id, None if s.id % 7 == 6 else bowl(s)) for s in told]
        one.tell(results)
        for result in reversed(results):
            other.tell([result])
        pending = [s for s in pending if s not in told]
        if data.draw(st.booleans()):
            state = json.loads(json.dumps(other.dump(), allow_nan=False))
            other = tpe(MIXED, budget=30, asynchronous=True, n_init=5)
            other.load(state)
    assert one.dump() == other.dump()
    assert len(one.dump()["points"]) == 30


def test_constraints_and_conditions_hold() -> None:
    space = SearchSpace(
        {
            "rank": Int(2, 64),
            "alpha": Int(1, 256, log=True),
            "optimizer": Choice(("adam", "sgd")),
            "momentum": Float(0, 0.99, when={"optimizer": "sgd"}),
        },
        constraints=["alpha <= rank"],
    )

    def score(suggestion: Suggestion) -> float:
        c = space.decode(suggestion.point)
        return float(c["alpha"]) + float(c.get("momentum", 0.5))  # the best lies on the constraint

    played = play(tpe(space, budget=60), score, limit=8)
    found: list[Configuration] = [space.decode(point) for point in played.points]
    assert len(found) == 60
    assert all(c["alpha"] <= c["rank"] for c in found)  # type: ignore[operator]
    assert all(("momentum" in c) == (c["optimizer"] == "sgd") for c in found)
    assert len({tuple(c.items()) for c in found}) == 60
    early, late = (np.mean([float(c["alpha"]) for c in part]) for part in (found[:16], found[40:]))
    assert late > 2 * early


def test_a_narrow_constraint_is_kept() -> None:
    space = SearchSpace({"a": Int(1, 40), "b": Int(1, 40)}, constraints=["a * b <= 4"])
    points = play(tpe(space, budget=30), bowl, limit=8).points
    assert configurations(space, points) == {(a, b) for a in range(1, 5) for b in range(1, 5) if a * b <= 4}
    assert len(points) == 8


def test_optuna_stays_silent_and_its_settings_alone(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play(tpe(MIXED, budget=24), bowl, limit=8)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before


def test_a_missing_library_is_named_with_its_remedy() -> None:
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        "from orchestrator.algorithms import create\n"
        "from orchestrator.errors import InputError\n"
        "from orchestrator.space.space import Float, SearchSpace\n"
        "try: create('tpe', SearchSpace({'x': Float(0, 1)}), seed=0, budget=3, capacity=1)\n"
        "except InputError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "tpe needs optuna, which is not installed: pip install 'orchestrator[tpe]'\n"
