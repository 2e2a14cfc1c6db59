"""Whole studies whose jobs die, whose scheduler is full or forgetful, under masters that look only once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator.contract import Assignment, Failure
from orchestrator.errors import StudyStopped
from tests.fakes.scripted import Following, ScriptedCluster, Study, study, value


def test_a_site_that_takes_few_jobs_is_kept_full_and_no_attempt_is_used_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.attempts.quota._PAUSE_S", 0.0)
    cluster = ScriptedCluster(most=5)
    found = Study(*study(tmp_path, evaluations=23, slots=16), cluster)
    found.go()
    assert max(cluster.busy) == 5
    assert [len(trial.attempts) for trial in found.history.trials] == [1] * 23
    assert sorted(cluster.started) == list(range(23))
    assert any(record["kind"] == "refused" for record in found.records)


def test_a_site_that_takes_no_job_is_waited_for(tmp_path: Path) -> None:
    class Opening(Patient):
        def wait(self, seconds: float) -> None:
            self.most = 8
            super().wait(seconds)

    found = Study(*study(tmp_path, slots=3), Opening(most=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.attempts.quota._PAUSE_S", 0.0)
        patch.setattr("orchestrator.attempts.quota._LONGEST_PAUSE_S", 0.0)
        assert found.go() == "the budget of 9 evaluations is spent"


def test_a_wall_time_is_lengthened_once_and_the_study_says_what_each_attempt_had(tmp_path: Path) -> None:
    def slow(assignment: Assignment) -> float | Failure:
        return (
            Failure.WALLTIME if assignment.trial == 1 and assignment.walltime_min == 5 else value(assignment)
        )

    found = Study(*study(tmp_path, walltime_max_min=9), ScriptedCluster(outcome=slow))
    found.go()
    attempts = found.history.trials[1].attempts
    assert [(a.walltime_min, a.ended) for a in attempts] == [(5, "walltime"), (9, "evaluated")]
    assert {t.attempts[-1].walltime_min for t in found.history.trials if t.number != 1} == {5}


class Patient(ScriptedCluster):
    """The master may wait although nothing runs: for the scheduler's word."""

    def wait(self, seconds: float) -> None:
        if self.running:
            super().wait(seconds)
        else:
            time.sleep(0.01)


def test_a_trial_that_died_is_not_run_on_the_same_host_again(tmp_path: Path) -> None:
    cluster = Patient(
        outcome=lambda a: None if a.trial == 1 and a.attempt == 1 else value(a), host=lambda job: f"n{job}"
    )
    found = Study(*study(tmp_path, grace_s=0, poll_s=0.01), cluster)
    found.go()
    first = found.history.trials[1].attempts[0]
    assert (first.ended, first.host) == ("killed", "n1")
    assert [overrides.exclude for overrides in cluster.asked if overrides.exclude] == [("n1",)]


def test_a_job_that_no_host_could_start_is_taken_back_and_tried_elsewhere(tmp_path: Path) -> None:
    cluster = Patient(seconds=lambda trial: 9.0 if trial == 0 else 1.0, held={"0"})
    found = Study(*study(tmp_path, grace_s=0, poll_s=0.01), cluster)
    assert found.go() == "the budget of 9 evaluations is spent"
    first, second = found.history.trials[0].attempts
    assert (first.job, first.ended, second.ended) == ("0", "host_fault", "evaluated")
    assert cluster.cancelled == ["0"]
    assert not any("will not start" in line for line in found.said)


def test_a_last_attempt_that_no_host_could_start_waits_for_a_person(tmp_path: Path) -> None:
    class Mended(Patient):
        def wait(self, seconds: float) -> None:
            super().wait(seconds)
            if len(self.running) == 1:  # nothing else goes on: somebody comes and looks
                self.held.clear()

    cluster = Mended(seconds=lambda trial: 999.0 if trial == 0 else 1.0, held={"0"})
    found = Study(*study(tmp_path, grace_s=0, poll_s=0.01, attempts=1), cluster)
    assert found.go() == "the budget of 9 evaluations is spent"
    assert [attempt.ended for attempt in found.history.trials[0].attempts] == ["evaluated"]
    assert found.said.count("trial 0: job 0 will not start (not started): release it") == 1
    assert cluster.cancelled == []


def test_a_job_that_waits_again_after_the_end_is_not_left_behind(tmp_path: Path) -> None:
    class Requeueing(ScriptedCluster):
        def _finish(self, job: str) -> None:
            super()._finish(job)
            if job == "3":
                self.requeued.add(job)

    cluster = Requeueing()
    assert Study(*study(tmp_path), cluster).go() == "the budget of 9 evaluations is spent"
    assert cluster.cancelled == ["3"]


def test_a_job_that_the_scheduler_forgot_counts_when_its_result_comes_first(tmp_path: Path) -> None:
    """Attempt 1 of trial 0 is given up as lost and runs on; it ends before attempt 2 does."""
    cluster = Patient(seconds=lambda trial: 50.0 if trial == 0 else 1.0, lost={"0"})
    found = Study(*study(tmp_path, grace_s=0, poll_s=0.01, evaluations=5, slots=2), cluster)
    starts = cluster._start

    def later(attempt: Path, token: str) -> str:
        job = starts(attempt, token)
        if attempt.name == "attempt-2":
            end, *rest = cluster.running[job]
            cluster.running[job] = (end + 500.0, *rest)  # type: ignore[assignment]
        return job

    cluster._start = later  # type: ignore[method-assign]
    found.go()
    trial = found.history.trials[0]
    assert [a.ended for a in trial.attempts] == ["evaluated", "superseded"]
    assert cluster.cancelled == [trial.attempts[1].job]
    assert len(found.history.evaluations) == len(set(found.history.evaluations)) == 5


def test_masters_that_look_once_each_get_the_same_study(tmp_path: Path) -> None:
    whole = Study(*study(tmp_path / "whole", evaluations=7), None, Following)
    whole.go()
    ticked = Study(*study(tmp_path / "ticked", evaluations=7), None, Following)
    looks = 0
    while (why := ticked.go(once=True)) is None:
        ticked.cluster.wait(0)
        looks += 1
    assert why == "the budget of 7 evaluations is spent"
    assert looks >= 3
    assert sorted(ticked.cluster.started) == list(range(7))
    assert {t.number for t in ticked.history.spent} == {t.number for t in whole.history.spent}


def test_a_look_at_jobs_that_run_changes_nothing(tmp_path: Path) -> None:
    found = Study(*study(tmp_path))
    assert found.go(once=True) is None
    trials, submissions = len(found.history.trials), found.history.submission_count
    assert found.go(once=True) is None
    assert (len(found.history.trials), found.history.submission_count) == (trials, submissions)


def test_a_look_that_settled_a_dead_job_does_not_stay_for_the_next_one(tmp_path: Path) -> None:
    cluster = Patient(outcome=lambda a: None if a.trial == 1 and a.attempt == 1 else value(a))
    found = Study(*study(tmp_path, grace_s=0, poll_s=0.01, evaluations=6), cluster)
    assert found.go(once=True) is None
    cluster.wait(0)
    assert found.go(once=True) is None
    assert [attempt.ended for attempt in found.history.trials[1].attempts] == ["killed", None]
    assert cluster.running


def test_a_study_that_failed_says_so_at_every_look(tmp_path: Path) -> None:
    found = Study(*study(tmp_path), ScriptedCluster(outcome=lambda a: Failure.PROGRAM_ERROR))
    assert found.go(once=True) is None
    while found.cluster.running:
        found.cluster.wait(0)
    with pytest.raises(StudyStopped, match="the first 3 trials failed"):
        found.go(once=True)
