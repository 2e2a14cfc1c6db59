"""A command over several hosts of a real SLURM cluster: one process per GPU, and none left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contract import Failure, Outcome
from orchestrator.executors import JobState, State
from orchestrator.executors.slurm.executor import SlurmExecutor
from tests.clusters.slurm import SlurmCluster
from tests.executors.attempts import ROOT, poll_until, resources
from tests.jobs.attempts import log, result
from tests.jobs.test_ranks import assert_gone, assigned, seen, until

HOSTS, GPUS = 2, 2


class Job:
    """An evaluation on two hosts with two GPUs each, as the master submits it."""

    def __init__(self, path: Path, order: dict[str, Any], **changes: Any) -> None:
        self.directory = assigned(path / "attempt", order, hosts=HOSTS, gpus=GPUS, **changes)
        folder = path / "jobs"
        folder.mkdir()
        variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        asked = resources(hosts=HOSTS, gpus=GPUS, walltime_min=5, environment=variables)
        self.executor = SlurmExecutor(asked, answer_s=20, submit_s=60)
        (self.id,) = self.executor.submit([self.directory], "ranks", folder)

    def seen(self) -> list[dict[str, Any]]:
        return seen(self.directory, HOSTS * GPUS)

    def ended(self) -> JobState:
        return poll_until(self.executor, [self.id], lambda state: state.state is State.ENDED, 90)[0]


def test_the_ranks_of_two_hosts_sum_what_each_has(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = Job(tmp_path, {"sum": True})
    assert job.ended().word == "COMPLETED"
    found = result(job.directory)
    assert found.outcome is Outcome.OK, found.message
    assert found.metrics["sum"].value == 1 + 2 + 3 + 4
    told = job.seen()
    places = [(one["SLURMD_NODENAME"], one["RANK"], one["LOCAL_RANK"]) for one in told]
    first, second = places[0][0], places[2][0]
    assert first != second
    assert places == [(first, "0", "0"), (first, "1", "1"), (second, "2", "0"), (second, "3", "1")]
    assert found.host == first
    for one in told:
        assert (one["WORLD_SIZE"], one["LOCAL_WORLD_SIZE"]) == ("4", "2")
        assert len(one["CUDA_VISIBLE_DEVICES"].split(",")) == GPUS
    assert_gone(told)


def test_a_rank_that_fails_ends_the_job_and_is_named(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = Job(tmp_path, {"wait": True, "exit": 2})
    told = job.seen()
    job.ended()
    found = result(job.directory)
    assert found.failure is Failure.PROGRAM_ERROR
    assert f"rank 2 on {told[2]['SLURMD_NODENAME']} exited with 1" in found.message
    assert found.message.endswith("rank 2 gives up")
    assert_gone(told)


@pytest.mark.parametrize("victim", ["program", "its watcher"])
def test_a_rank_that_is_killed_ends_the_job_and_is_named(
    slurm: SlurmCluster, tmp_path: Path, victim: str
) -> None:
    job = Job(tmp_path, {"wait": True})
    told = job.seen()
    os.kill(told[3]["pids"][victim != "program"], signal.SIGKILL)
    job.ended()
    found = result(job.directory)
    assert found.failure is Failure.KILLED, log(job.directory)
    assert f"rank 3 on {told[3]['SLURMD_NODENAME']}" in found.message
    if victim == "program":
        assert_gone(told)
    else:  # without cgroups SLURM does not know what an orphan left
        assert_gone([*told[:3], {"pids": told[3]["pids"][:2]}])
        os.kill(told[3]["pids"][2], signal.SIGKILL)


def test_a_cancelled_job_lets_its_ranks_save_themselves_and_leaves_none(
    slurm: SlurmCluster, tmp_path: Path
) -> None:
    job = Job(tmp_path, {"wait": True})
    told = job.seen()
    slurm.run("scancel", job.id)
    assert job.ended().failure is Failure.CANCELLED
    assert_gone(told)
    assert not (job.directory / "result.json").exists()
    saved = job.directory / "checkpoint"
    assert sorted(path.name for path in saved.iterdir()) == [f"rank-{rank}" for rank in range(4)]


def test_a_leader_that_is_killed_takes_its_ranks_with_it(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = Job(tmp_path, {"wait": True})
    told = job.seen()
    (copy,) = (job.directory / "copies").iterdir()
    os.kill(int(copy.stem.rpartition("-")[2]), signal.SIGKILL)
    assert job.ended().failure is Failure.KILLED
    assert_gone(told)


def test_a_rank_that_hangs_ends_with_the_wall_time(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = Job(tmp_path, {"wait": True}, walltime_min=0.5)
    told = job.seen()
    until((job.directory / "result.json").exists, "the result", 120)
    assert result(job.directory).failure is Failure.WALLTIME
    job.ended()
    assert_gone(told)
    assert (job.directory / "checkpoint" / "rank-3").exists()
