"""Trials that share a job: how the master fills it, and what it does when one of them ends otherwise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.attempts.retries import struck
from orchestrator.config import ClusterProfile
from orchestrator.contract import Assignment, Failure
from orchestrator.executors import JobState, State, payload
from orchestrator.executors.base import Overrides
from orchestrator.executors.oar.executor import OarExecutor
from orchestrator.executors.slurm.executor import SlurmExecutor
from orchestrator.preflight import forecast
from orchestrator.record import Summary
from orchestrator.record.ledger import read
from orchestrator.views.hours import hours
from orchestrator.views.queue import jobs as queue_rows
from tests.executors.attempts import resources
from tests.fakes.builders import Story
from tests.fakes.scripted import ScriptedCluster, Study, study
from tests.fakes.studies import PROFILE, run_study, write_command_study

PACK: dict[str, Any] = {"gpus": 4, "gpus_per_trial": 1}


@dataclass
class PackedCluster(ScriptedCluster):
    """Four attempts share a job; one job's attempts end one by one."""

    packs: dict[str, str] = field(default_factory=dict)  # attempt's own name here -> the job
    sizes: list[int] = field(default_factory=list)  # of each job

    def submit(
        self, attempts: Sequence[Path], token: str, folder: Path, overrides: Overrides = Overrides()
    ) -> list[str]:
        names = super().submit(attempts, token, folder, overrides)
        heads = [f"job-{names[index]}" for index in range(0, len(names), 4)]
        self.sizes += [len(names[index : index + 4]) for index in range(0, len(names), 4)]
        jobs = payload.of_attempts(heads, attempts, 4)
        self.packs |= dict(zip(names, jobs, strict=True))
        return jobs

    def _state(self, job: str) -> JobState:
        running = {self.packs[name] for name in self.running}
        return JobState(
            State.RUNNING if job in running else State.ENDED, host="n1" if job == "job-0" else "n2"
        )

    def find(self, prefix: str) -> dict[str, list[str]]:
        found = super().find(prefix)
        return {
            token: list(dict.fromkeys(self.packs[name] for name in names)) for token, names in found.items()
        }


def test_a_job_is_filled_when_it_starts_and_not_again(tmp_path: Path) -> None:
    place = study(tmp_path, "random", evaluations=20, slots=2, **PACK)
    cluster = PackedCluster(seconds=lambda trial: 1.0 + trial % 4)
    found = Study(*place, cluster)
    assert found.go() == "the budget of 20 evaluations is spent"
    assert cluster.sizes == [4] * 5
    # Nothing is asked before it can be submitted: what was scored by then is told first.
    assert [len(record["trials"]) for record in found.of_kind("asked")] == [8, 8, 4]
    assert max(cluster.busy) == 8
    jobs = [job for record in found.of_kind("submitted") for job in record["jobs"]]
    assert jobs == [job for job in dict.fromkeys(jobs) for _ in range(4)]
    told = Assignment.model_validate_json(next(found.run.path.rglob("trial.json")).read_text())
    assert told.gpus == 1


def test_one_that_is_killed_goes_into_a_later_job_and_its_host_is_not_struck(tmp_path: Path) -> None:
    def outcome(assignment: Assignment) -> float | Failure:
        return Failure.KILLED if (assignment.trial, assignment.attempt) == (2, 1) else float(assignment.trial)

    cluster = PackedCluster(outcome=outcome)
    found = Study(*study(tmp_path, "random", evaluations=8, slots=1, **PACK), cluster)
    found.go()
    assert [[a.ended for a in t.attempts] for t in found.history.trials if t.number != 2] == [
        ["evaluated"]
    ] * 7
    assert [a.ended for a in found.history.trials[2].attempts] == ["killed", "evaluated"]
    assert sum(cluster.sizes) == 9
    assert cluster.cancelled == []
    assert struck(found.history, 1) == set()


@pytest.mark.parametrize("crash_at", range(1, 12, 2))
def test_a_master_that_dies_anywhere_evaluates_each_once(tmp_path: Path, crash_at: int) -> None:
    cluster = PackedCluster()
    found = Study(*study(tmp_path, "random", evaluations=6, slots=2, **PACK), cluster)
    if found.go(crash_at=crash_at) is None:
        found.go()
    assert sorted(cluster.started) == list(range(6))
    for trial in found.history.trials:
        claim = json.loads((found.run.attempt(trial.number, len(trial.attempts)) / "claim.json").read_text())
        assert trial.attempts[-1].job == cluster.packs[claim["job"]]
    assert all(t.evaluation and t.evaluation.failure is None for t in found.history.trials)


def test_processes_of_this_host_share_jobs_too(tmp_path: Path) -> None:
    program = (
        "import json, os, sys; job = os.environ['SUBMITIT_LOCAL_JOB_ID']; "
        "json.dump({'loss': 0, 'pid': int(job.partition('-')[0])}, open(sys.argv[2], 'w'))"
    )
    profile = PROFILE.replace("gpus = 0", "gpus = 2\ngpus_per_trial = 1").replace(
        "max_jobs = 3", "max_jobs = 2"
    )
    run = run_study(tmp_path, write_command_study(tmp_path, program, evaluations=4, profile=profile))
    assert run.code == 0, run.errors
    [submitted] = [r["jobs"] for r in read(run.path / "ledger.jsonl") if r["kind"] == "submitted"]
    found = [t.evaluation.metrics["pid"].value for t in run.history.trials if t.evaluation is not None]
    assert found == [int(job.partition("-")[0]) for job in submitted]
    assert submitted[0] == submitted[1] != submitted[2] == submitted[3]


def packed() -> Story:
    """Trials 0 to 3 in one job."""
    story = Story(pack=4).ask({"x": 0}, {"x": 1}, {"x": 2}, {"x": 3})
    token = "story-abcdef-0000"
    story.add("submitting", token=token, attempts=[[trial, 1] for trial in range(4)], pack=4)
    return story.add("submitted", token=token, jobs=["7_0"] * 4)


def test_the_hours_of_a_job_are_counted_once_and_what_lay_idle_of_it_too() -> None:
    story = packed()
    start = story.history.trials[0].attempts[0].submitted_at
    for trial, ran_h in enumerate((1, 1, 1, 2)):
        times = {"started_at": start, "ended_at": start + 3600.0 * ran_h}
        story.score(trial, 1.0, **times, seconds={"train": 3600.0 * ran_h})
    spent = hours(story.history)
    assert spent.train == pytest.approx(1.25)
    assert spent.other == pytest.approx(0.75)
    assert Summary(story.history).gpu_hours == pytest.approx(5)


def test_a_job_stays_under_way_until_its_last_trial_ends_and_the_queue_shows_all() -> None:
    story = packed()
    for trial in range(3):
        assert story.history.jobs_under_way == 1
        story.score(trial, 1.0)
    rows = queue_rows(story.summary, {"7_0": JobState(State.RUNNING, host="n1", running_s=1.0)})
    assert [(row["trial"], row["job"], row["host"]) for row in rows] == [(3, "7_0", "n1")]
    assert story.history.jobs_under_way == 1
    story.score(3, 1.0)
    assert story.history.jobs_under_way == 0


def test_a_fault_that_ends_a_job_is_one_strike() -> None:
    story = packed()
    for trial in range(4):
        story.add("failed", trial=trial, attempt=1, failure="host_fault", message="", host="n1")
    assert struck(story.history, 1) == {"n1"}
    assert struck(story.history, 2) == set()


def test_a_forecast_counts_jobs_not_trials(tmp_path: Path) -> None:
    coming = forecast(*study(tmp_path, "random", evaluations=10, slots=1, walltime_min=60, **PACK))
    assert (coming.waves, coming.wall_clock_h, coming.host_hours, coming.gpu_hours) == (3, 3, 3, 12)
    assert len(coming.batch) == 4


def test_an_array_has_an_element_for_each_pack(tmp_path: Path) -> None:
    attempts = [tmp_path / str(number) for number in range(6)]
    asked = resources(gpus=4, trials_per_job=4)
    text = SlurmExecutor(asked).preview(attempts, "token", tmp_path)
    assert "#SBATCH --array=0-1%2" in text
    assert "#SBATCH --gpus-per-node=4" in text
    text = OarExecutor(asked).preview(attempts, "token", tmp_path)
    assert "#OAR --array 2" in text
    assert "gpu=4" in text


def test_slots_are_jobs_times_packs() -> None:
    content = {"scheduler": "slurm", "shared_dir": "/", "walltime_min": 60, "max_jobs": 3}
    place = ClusterProfile.model_validate({**content, **PACK})
    assert (place.trials_per_job, place.slots) == (4, 12)
    assert ClusterProfile.model_validate({**content, "gpus": 4}).slots == 3
