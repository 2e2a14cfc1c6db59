"""A site's charter over a whole study: jobs are held back, withdrawn while they wait, and submitted again."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.attempts.permission import Permission
from orchestrator.executors import JobState, State
from tests.fakes.scripted import ScriptedCluster, Study, study

MONDAY_18 = dt.datetime(2026, 11, 23, 18, 0, tzinfo=dt.UTC)
CHARTER = {"timezone": "UTC"}


@dataclass
class Clock:
    """The charter's clock, which the cluster's time moves."""

    start: dt.datetime
    cluster: ScriptedCluster

    def __call__(self) -> dt.datetime:
        return self.start + dt.timedelta(seconds=self.cluster.now)


@dataclass
class Queueing(ScriptedCluster):
    """Jobs wait until they are let go; the master's waiting takes ten minutes."""

    waiting: dict[str, tuple[Path, str]] = field(default_factory=dict)
    open: bool = True
    count: int = 0

    def _start(self, attempt: Path, token: str) -> str:
        if self.open:
            return super()._start(attempt, token)
        self.count += 1
        self.waiting[job := f"w{self.count}"] = attempt, token
        return job

    def _state(self, job: str) -> JobState:
        return JobState(State.PENDING) if job in self.waiting else super()._state(job)

    def cancel(self, jobs: Any) -> None:
        super().cancel(jobs)
        for job in jobs:
            self.waiting.pop(job, None)

    def wait(self, seconds: float) -> None:
        if self.running:
            super().wait(seconds)
        else:
            self.now += 600


def at(monkeypatch: pytest.MonkeyPatch, cluster: ScriptedCluster, start: dt.datetime) -> Clock:
    clock = Clock(start, cluster)
    cluster.epoch = start.timestamp()
    monkeypatch.setattr(
        "orchestrator.attempts.attempts.Permission",
        lambda profile, history: Permission(profile, history, clock),
    )
    return clock


def test_jobs_that_would_cross_the_end_of_the_day_are_held_back_until_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Queueing()
    clock = at(monkeypatch, cluster, MONDAY_18)
    found = Study(*study(tmp_path, walltime_min=120, charter=CHARTER, evaluations=3), cluster)
    found.go()
    assert clock() >= MONDAY_18.replace(hour=19)
    assert (
        len([line for line in found.said if "held back by the charter until Mon 23 Nov 19:00" in line]) == 1
    )
    assert [len(trial.attempts) for trial in found.history.trials] == [1, 1, 1]


def test_a_job_that_waits_too_long_is_withdrawn_and_submitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Submitted at 16:00 for two hours, it has not started by 17:00 and must not any more."""
    cluster = Queueing(open=False)
    clock = at(monkeypatch, cluster, MONDAY_18.replace(hour=16))
    place = study(tmp_path, walltime_min=120, charter=CHARTER, evaluations=2, slots=2, poll_s=0.001)
    found = Study(*place, cluster)
    waits = cluster.wait

    def wait(_: float) -> None:
        waits(_)
        cluster.open = clock() > MONDAY_18.replace(hour=18)

    found.cluster.wait = wait  # type: ignore[method-assign]
    found.go()
    assert [[a.ended for a in t.attempts] for t in found.history.trials] == [["withdrawn", "evaluated"]] * 2
    assert cluster.cancelled == ["w1", "w2"]
    assert clock() >= MONDAY_18.replace(hour=19)


def test_the_quota_of_the_day_is_shared_by_jobs_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five host-hours by day, two each: two jobs run, and the third waits for the evening."""
    cluster = Queueing(seconds=lambda _: 7200.0)
    clock = at(monkeypatch, cluster, MONDAY_18.replace(hour=10))
    charter = {**CHARTER, "daily_host_hours": 5.0}
    found = Study(*study(tmp_path, walltime_min=120, charter=charter, evaluations=3, slots=3), cluster)
    found.go()
    assert cluster.busy[0] == 2
    assert clock() >= MONDAY_18.replace(hour=19)


def test_exempt_jobs_run_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Queueing()
    at(monkeypatch, cluster, MONDAY_18)
    charter = {**CHARTER, "exempt": ["besteffort"]}
    options = {"type": "besteffort"}
    found = Study(
        *study(tmp_path, walltime_min=120, charter=charter, options=options, evaluations=3), cluster
    )
    found.go()
    assert cluster.now < 600
