"""The master keeps every slot busy: told at once, asked at once, and never what must wait."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.algorithms import ALGORITHMS, Algorithm, Observation, Suggestion
from orchestrator.algorithms.tree.soo import SOO
from orchestrator.space import SearchSpace
from orchestrator.space.space import Int
from tests.algorithms.playing import play
from tests.fakes.scripted import Following, ScriptedCluster, Study, replayed, study, value, value_at

ROUNDS, AT_ONCE = ("soo", "bamsoo"), ("lhs", "random")
ASYNCHRONOUS = "asynchronous"


def build_of(algorithm: str) -> Callable[..., Algorithm] | None:
    return Following if algorithm == ASYNCHRONOUS else None


def named(algorithm: str) -> str:
    """A name for the study file."""
    return "random" if algorithm == ASYNCHRONOUS else algorithm


def shuffled(seed: int) -> Callable[[int], float]:
    """Durations that let jobs finish in some other order."""
    return lambda trial: random.Random(f"{seed}/{trial}").lognormvariate(0, 1)


@pytest.mark.parametrize("algorithm", [*AT_ONCE, ASYNCHRONOUS])
def test_no_slot_idles_while_there_are_points_left(tmp_path: Path, algorithm: str) -> None:
    cluster = ScriptedCluster(seconds=shuffled(1))
    spec, place = study(tmp_path, named(algorithm), evaluations=20)
    found = Study(spec, place, cluster, build_of(algorithm))
    assert found.go() == "the budget of 20 evaluations is spent"
    assert cluster.busy == [3] * 18 + [2, 1]
    assert sorted(cluster.started) == list(range(20))


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 999), st.integers(1, 5), st.sampled_from((*ROUNDS, *AT_ONCE)), st.sampled_from((None, 3))
)
def test_no_order_of_finishing_and_no_number_of_slots_changes_the_search(
    tmp_path_factory: pytest.TempPathFactory, seed: int, slots: int, algorithm: str, grid: int | None
) -> None:
    """A round that is wider than the slots goes out in parts, and what shares a score may wait for it."""
    directory = tmp_path_factory.mktemp("study")
    plain = Study(
        *study(directory / "a", algorithm, evaluations=11, grid=grid, slots=11),
        ScriptedCluster(outcome=value),
    )
    other = Study(
        *study(directory / "b", algorithm, evaluations=11, grid=grid, slots=slots),
        ScriptedCluster(seconds=shuffled(seed), outcome=value),
    )
    plain.go()
    other.go()
    assert other.points == plain.points
    assert len(other.history.spent) <= 11
    assert grid is not None or len(other.history.spent) == 11


def test_a_round_wider_than_the_slots_goes_out_as_slots_get_free(tmp_path: Path) -> None:
    spec, place = study(tmp_path, "soo", evaluations=15)
    cluster = ScriptedCluster(seconds=shuffled(3), outcome=value)
    found = Study(spec, place, cluster)
    found.go()
    alone = play(found.algorithm(), lambda s: -value_at(spec.space.decode(s.point)))
    assert [trial.point for trial in found.history.trials] == alone.points
    assert max(alone.batches) > 3
    assert [record["limit"] for record in found.of_kind("asked")].count(1) > 0
    assert max(cluster.busy) == 3


@pytest.mark.parametrize("algorithm", ["soo", "lhs", ASYNCHRONOUS])
def test_a_master_that_dies_anywhere_loses_nothing_and_repeats_nothing(
    tmp_path: Path, algorithm: str
) -> None:
    def launched(name: str) -> Study:
        spec, place = study(tmp_path / name, named(algorithm), evaluations=11)
        cluster = ScriptedCluster(seconds=shuffled(5), outcome=value)
        return Study(spec, place, cluster, build_of(algorithm))

    undisturbed = launched("undisturbed")
    undisturbed.go()
    instants = random.Random(algorithm)
    for life in range(12):
        found = launched(f"disturbed-{life}")
        lives = 0
        while found.go(crash_at=instants.randint(1, 40)) is None:
            lives += 1
        assert lives
        assert len(found.history.spent) == 11
        assert sorted(found.cluster.started) == list(range(11)), "each ran once"
        assert all(trial.evaluation is not None for trial in found.history.trials)
        if algorithm == ASYNCHRONOUS:
            assert replayed(found) == [trial.point for trial in found.history.trials]
        else:
            assert found.points == undisturbed.points


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 999), st.sampled_from((None, 4)))
def test_the_ledger_of_an_asynchronous_search_replays_to_the_same_points(
    tmp_path_factory: pytest.TempPathFactory, seed: int, grid: int | None
) -> None:
    spec, place = study(tmp_path_factory.mktemp("study"), "random", evaluations=12, grid=grid)
    found = Study(spec, place, ScriptedCluster(seconds=shuffled(seed), outcome=value), Following)
    found.go()
    assert len(found.history.spent) == 12
    assert replayed(found) == [trial.point for trial in found.history.trials]


@pytest.mark.parametrize("algorithm", ["fullsweep", "bo", "tpe"])
def test_an_asynchronous_study_whose_masters_die_replays_to_the_same_points(
    tmp_path: Path, algorithm: str
) -> None:
    spec, place = study(tmp_path, "random", evaluations=14)
    spec = replace(spec, algorithm=algorithm, options={"asynchronous": True})
    found = Study(spec, place, ScriptedCluster(seconds=shuffled(1), outcome=value))
    instants = random.Random(2)
    while found.go(crash_at=instants.randint(20, 60)) is None:
        pass
    assert sorted(found.cluster.started) == list(range(14))
    assert found.cluster.busy == [3] * 12 + [2, 1]
    assert replayed(found) == [trial.point for trial in found.history.trials]


def test_a_trial_shares_the_score_of_one_that_still_runs_and_takes_no_slot(tmp_path: Path) -> None:
    spec, place = study(tmp_path, "random", evaluations=50, grid=2)
    cluster = ScriptedCluster(seconds=shuffled(2))
    found = Study(spec, place, cluster)
    assert found.go() == "all 9 configurations of the space are evaluated"
    assert sorted(cluster.started) == sorted(t.number for t in found.history.spent)
    assert len(cluster.started) == 9
    assert cluster.busy == [3] * 7 + [2, 1]
    asked = found.of_kind("asked")
    evaluated = {record["trial"]: record["seq"] for record in found.of_kind("evaluated")}
    shared = [t for t in found.history.trials if t.same_as is not None]
    assert any(evaluated[t.same_as] > asked[t.ask]["seq"] for t in shared if t.same_as is not None)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_space_of_one_configuration_is_searched_once(tmp_path: Path, algorithm: str) -> None:
    spec, place = study(tmp_path, "random", evaluations=50)
    space = SearchSpace({"x0": Int(0, 2), "x1": Int(0, 2)}, constraints=["x0 - x1 >= 2"])
    found = Study(replace(spec, algorithm=algorithm, space=space), place)
    assert found.go() == "the space's only configuration is evaluated"
    assert [t.configuration for t in found.history.spent] == [{"x0": 2, "x1": 0}]


def test_after_an_empty_answer_nothing_is_asked_before_something_is_told(tmp_path: Path) -> None:
    said: list[str] = []

    class Heard(SOO):
        def ask(self, limit: int, *, budget: int | None = None) -> list[Suggestion]:
            batch = super().ask(limit, budget=budget)
            said.append("ask" if batch else "empty")
            return batch

        def tell(self, observations: Sequence[Observation]) -> None:
            super().tell(observations)
            said.append("tell")

    def build(space: SearchSpace, **rest: Any) -> Algorithm:
        return Heard(space, **rest, h_max="none", sequential=None)

    found = Study(*study(tmp_path, "soo", evaluations=12), ScriptedCluster(seconds=shuffled(4)), build)
    found.go()
    assert "empty" in said
    assert {after for before, after in pairwise(said) if before == "empty"} == {"tell"}


def test_one_line_says_what_was_asked_for(tmp_path: Path) -> None:
    found = Study(*study(tmp_path, evaluations=5), ScriptedCluster(seconds=shuffled(1)))
    found.go()
    asked = [line for line in found.said if line.startswith("asked")]
    assert asked == ["asked for trials 0–2", "asked for trial 3", "asked for trial 4"]


# -- the end ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 5])
def test_a_search_that_finds_nothing_new_ends_at_the_same_trial_whatever_the_slots_do(
    tmp_path: Path, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck(Following):
        def _plan(self) -> None:
            self._append((0.1 * min(len(self._points), 6), 0.5))

    monkeypatch.setattr("orchestrator.master.ask_tell.FRUITLESS", 4)
    for name, seconds in (("shuffled", shuffled(1)), ("together", lambda trial: 1.0)):
        spec, place = study(tmp_path / name, "random", evaluations=50, slots=slots)
        found = Study(spec, place, ScriptedCluster(seconds=seconds), Stuck)
        assert found.go() == f"random asked for no new configuration {4 * slots} times in a row"
        assert len(found.history.trials) == 7 + 4 * slots


def test_a_search_with_nothing_to_ask_ends_when_everything_is_evaluated(tmp_path: Path) -> None:
    class Short(Following):
        def _plan(self) -> None:
            if len(self._points) < 4:
                super()._plan()

    cluster = ScriptedCluster(seconds=shuffled(1))
    found = Study(*study(tmp_path, evaluations=50), cluster, Short)
    assert found.go() == "lhs has nothing more to ask"
    assert len(found.of_kind("evaluated")) == 4


def test_gpu_hours_that_are_spent_end_the_asking_and_what_runs_is_waited_for(tmp_path: Path) -> None:
    cluster = ScriptedCluster(seconds=lambda trial: 3600.0 + trial)
    spec, place = study(tmp_path, "random", evaluations=50, gpus=1)
    spec = replace(spec, budget=spec.budget.model_copy(update={"gpu_hours": 4.0}))
    found = Study(spec, place, cluster)
    why = found.go()
    assert why is not None
    assert why.startswith("the budget of 4 GPU-hours is spent (6")
    assert len(found.history.trials) == len(found.of_kind("evaluated")) == 6


def test_the_base_model_runs_beside_the_first_trials(tmp_path: Path) -> None:
    spec, place = study(tmp_path, evaluations=5)
    spec = replace(spec, include_base=True)
    cluster = ScriptedCluster(seconds=shuffled(6))
    found = Study(spec, place, cluster)
    assert found.go() == "the budget of 5 evaluations is spent"
    assert found.history.trials[0].suggestion is None
    assert len(found.history.trials) == 6
    assert max(cluster.busy) == 3
