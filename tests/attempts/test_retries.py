"""What follows on a failed attempt, by the profile's rules."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.attempts.retries import is_retried, overrides_of, struck
from orchestrator.config import ClusterProfile
from orchestrator.contract import Failure, Outcome, Result
from orchestrator.executors.base import Overrides
from orchestrator.record import History
from tests.fakes.builders import Story


def profile(**changes: Any) -> ClusterProfile:
    content = {"scheduler": "slurm", "shared_dir": "/", "gpus": 4, "walltime_min": 60, "max_jobs": 4}
    return ClusterProfile.model_validate({**content, **changes})


def failed(failure: Failure, trained: float | None = None) -> Result:
    return Result(outcome=Outcome.FAILED, failure=failure, trial=0, attempt=1, trained=trained)


def after(*ended: Failure | tuple[Failure, float]) -> History:
    """A trial whose attempts failed so, with that share of its training done; the next is under way."""
    story = Story().ask({"x": 0})
    for number, how in enumerate([*ended], start=1):
        failure, trained = how if isinstance(how, tuple) else (how, 0.0)
        story.submit((0, number)).add(
            "failed", trial=0, attempt=number, failure=failure, message="", host=f"n{number}", trained=trained
        )
    return story.submit((0, len(ended) + 1)).history


@pytest.mark.parametrize("failure", [Failure.KILLED, Failure.LOST, Failure.HOST_FAULT])
def test_what_a_host_may_have_done_is_tried_again_a_counted_number_of_times(failure: Failure) -> None:
    place = profile(attempts=3)
    assert is_retried(after().trials[0], failed(failure), place)
    assert is_retried(after(failure).trials[0], failed(failure), place)
    assert not is_retried(after(failure, failure).trials[0], failed(failure), place)


def test_a_preemption_never_counts() -> None:
    history = after(*[Failure.PREEMPTED] * 9)
    assert is_retried(history.trials[0], failed(Failure.PREEMPTED), profile())
    assert is_retried(history.trials[0], failed(Failure.KILLED), profile())


@pytest.mark.parametrize(
    "failure",
    [Failure.OUT_OF_MEMORY, Failure.PROGRAM_ERROR, Failure.DIVERGED, Failure.CANCELLED, Failure.BAD_DATA],
)
def test_what_is_the_configurations_or_a_persons_doing_is_not_tried_again(failure: Failure) -> None:
    assert not is_retried(after().trials[0], failed(failure), profile(attempts=9))


def test_a_profile_overrides_each_rule() -> None:
    place = profile(on_failure={"program_error": "retry", "preempted": "fail", "out_of_memory": "resubmit"})
    assert is_retried(after().trials[0], failed(Failure.PROGRAM_ERROR), place)
    assert not is_retried(after(Failure.PROGRAM_ERROR).trials[0], failed(Failure.PROGRAM_ERROR), place)
    assert not is_retried(after().trials[0], failed(Failure.PREEMPTED), place)
    assert is_retried(after().trials[0], failed(Failure.OUT_OF_MEMORY), place)


def test_a_wall_time_is_lengthened_once_where_the_profile_allows() -> None:
    trial = after().trials[0]
    assert not is_retried(trial, failed(Failure.WALLTIME), profile())
    place = profile(walltime_max_min=90)
    assert is_retried(trial, failed(Failure.WALLTIME), place)
    history = after(Failure.WALLTIME)
    assert overrides_of(history.trials[0], set(), place).walltime_min == 90
    history.trials[0].attempts[-1].walltime_min = 90.0
    assert not is_retried(history.trials[0], failed(Failure.WALLTIME), place)


def test_a_longer_wall_time_is_kept_when_the_longer_attempt_is_preempted() -> None:
    place = profile(walltime_max_min=90)
    assert overrides_of(after(Failure.WALLTIME, Failure.PREEMPTED).trials[0], set(), place).walltime_min == 90


def test_training_that_advanced_goes_on_in_the_same_time_as_often_as_it_does() -> None:
    history = after((Failure.WALLTIME, 0.3), (Failure.WALLTIME, 0.6))
    trial = history.trials[0]
    assert is_retried(trial, failed(Failure.WALLTIME, 0.9), profile())
    assert not is_retried(trial, failed(Failure.WALLTIME, 0.6), profile())
    assert overrides_of(trial, set(), profile(walltime_max_min=90)).walltime_min == 60


def test_the_next_attempt_avoids_the_hosts_on_which_the_trial_died() -> None:
    history = after(Failure.KILLED, Failure.PREEMPTED, Failure.HOST_FAULT)
    assert overrides_of(history.trials[0], {"n9"}, profile()) == Overrides(60, ("n1", "n3", "n9"))


def test_a_host_is_avoided_by_all_after_so_many_faults_of_its_own() -> None:
    story = Story().ask({"x": 0}, {"x": 1}).submit((0, 1), (1, 1))
    for trial in (0, 1):
        story.add("failed", trial=trial, attempt=1, failure="host_fault", message="", host="n1")
    assert struck(story.history, 2) == {"n1"}
    assert struck(story.history, 3) == set()


def test_a_death_without_a_word_counts_against_a_host_only_if_the_trial_ends_well_elsewhere() -> None:
    story = Story().ask({"x": 0}).submit((0, 1))
    story.add("failed", trial=0, attempt=1, failure="killed", message="", host="n1").submit((0, 2))
    assert struck(story.history, 1) == set()
    assert struck(story.score(0, 1.0, host="n2").history, 1) == {"n1"}
    story = Story().ask({"x": 0}).submit((0, 1))
    story.add("failed", trial=0, attempt=1, failure="killed", message="", host="n1").submit((0, 2))
    assert struck(story.fail(0, "killed").history, 1) == set()
