"""The master on a real SLURM cluster of 4 hosts with 4 GPUs each."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.record.ledger import read
from tests.clusters.slurm import SlurmCluster
from tests.fakes.studies import (
    SLURM_PROFILE,
    assert_undisturbed,
    ledger_of,
    points_of,
    run_study,
    write_command_study,
    write_synthetic_study,
)

STEPS = ("submitting", "submit", "submitted", "evaluated")  # what the scheduler is part of; all under `local`
FAULTS = [f"{side}-{step}:2" for step in STEPS for side in ("before", "after")]
EVALUATIONS = 7


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """The same study under `local`: a scheduler must change nothing."""
    shared = tmp_path_factory.mktemp("undisturbed")
    return points_of(run_study(shared, write_synthetic_study(shared, evaluations=EVALUATIONS)).history)


def assert_no_job_left(slurm: SlurmCluster) -> None:
    """Jobs publish before they end: give them the moment between."""
    slurm.wait("the queue to be empty", lambda: not slurm.run("squeue", "--noheader").strip())


def jobs_run(shared: Path) -> list[str]:
    """Every job that claimed an attempt and ran it."""
    return [path.parent.parent.name for path in shared.glob("runs/study/trials/*/attempt-*/result.json")]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_master_killed_at_any_step_on_slurm(
    tmp_path: Path, slurm: SlurmCluster, fault: str, undisturbed: list[tuple[object, ...]]
) -> None:
    study = write_synthetic_study(tmp_path, evaluations=EVALUATIONS, profile=SLURM_PROFILE)
    killed = run_study(tmp_path, study, fault=fault)
    assert killed.code == -signal.SIGKILL, killed.errors
    run = run_study(tmp_path, study, resume=True)
    assert run.code == 0, run.errors
    assert_undisturbed(run.history, undisturbed)
    assert len(jobs_run(tmp_path)) == EVALUATIONS
    assert_no_job_left(slurm)


def test_a_master_killed_at_20_random_instants_on_slurm(
    tmp_path: Path, slurm: SlurmCluster, undisturbed: list[tuple[object, ...]]
) -> None:
    study = write_synthetic_study(tmp_path, evaluations=EVALUATIONS, profile=SLURM_PROFILE)
    instants = random.Random(7)
    command = ["launch", str(study), "--profile", str(tmp_path / "profile.toml")]
    for _ in range(20):
        program = [sys.executable, "-m", "orchestrator", *command]
        master = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(instants.uniform(0.3, 1.5))
        master.kill()
        master.wait()
        if ledger_of(tmp_path):
            command = ["resume", str(tmp_path / "runs/study")]
    run = run_study(tmp_path, study, resume=True)
    assert run.code == 0, run.errors
    assert_undisturbed(run.history, undisturbed)
    assert len(jobs_run(tmp_path)) == EVALUATIONS
    assert_no_job_left(slurm)


def test_a_sweep_runs_side_by_side_each_job_with_4_gpus_of_one_host(
    tmp_path: Path, slurm: SlurmCluster
) -> None:
    program = (
        "import json, os, sys, time; start = time.time(); time.sleep(3); "
        "gpus = len(os.environ['CUDA_VISIBLE_DEVICES'].split(',')); "
        "node = int(os.environ['SLURMD_NODENAME'][1:]); "
        "json.dump({'loss': gpus, 'node': node, 'start': start, 'end': time.time()}, open(sys.argv[2], 'w'))"
    )
    study = write_command_study(tmp_path, program, profile=SLURM_PROFILE)
    run = run_study(tmp_path, study)
    assert run.code == 0, run.errors
    found = [t.evaluation.metrics for t in run.history.spent if t.evaluation is not None]
    assert [m["loss"].value for m in found] == [4, 4, 4, 4]
    assert len({m["node"].value for m in found}) == 4
    assert max(m["start"].value for m in found) < min(m["end"].value for m in found)


def test_a_job_killed_on_its_host_is_tried_once_more(tmp_path: Path, slurm: SlurmCluster) -> None:
    marker = tmp_path / "killed-once"
    program = (
        "import json, os, pathlib, signal, sys\n"
        f"if {str(marker)!r} and not (marker := pathlib.Path({str(marker)!r})).exists():\n"
        "    marker.touch()\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n"
        "json.dump({'loss': json.load(open(sys.argv[1]))['x']}, open(sys.argv[2], 'w'))"
    )
    run = run_study(tmp_path, write_command_study(tmp_path, program, profile=SLURM_PROFILE))
    assert run.code == 0, run.errors
    failed = [r for r in read(run.path / "ledger.jsonl") if r["kind"] == "failed"]
    assert failed
    assert {r["failure"] for r in failed} == {"killed"}
    assert all(t.evaluation is not None and t.evaluation.failure is None for t in run.history.spent)
    assert_no_job_left(slurm)


def test_a_job_without_time_left_says_so_and_the_study_goes_on(tmp_path: Path, slurm: SlurmCluster) -> None:
    program = (
        "import json, sys, time; x = json.load(open(sys.argv[1]))['x']; time.sleep(120 * (x > 0.75)); "
        "json.dump({'loss': x}, open(sys.argv[2], 'w'))"
    )
    profile = SLURM_PROFILE.replace("walltime_min = 5", "walltime_min = 0.25")
    run = run_study(tmp_path, write_command_study(tmp_path, program, profile=profile))
    assert run.code == 0, run.errors
    failures = [t.evaluation.failure for t in run.history.spent if t.evaluation is not None]
    assert sorted(map(str, failures)) == ["None", "None", "None", "walltime"]


def test_a_host_that_cannot_start_jobs_is_avoided(tmp_path: Path, slurm_accounting: SlurmCluster) -> None:
    """SLURM sends it one job after the other, and holds each for good."""
    spool = slurm_accounting.directory / "spool" / "n1"
    spool.rename(spool.with_name("away"))
    spool.write_text("no directory")
    try:
        run = run_study(
            tmp_path, write_synthetic_study(tmp_path, evaluations=EVALUATIONS, profile=SLURM_PROFILE)
        )
    finally:
        spool.unlink()
        spool.with_name("away").rename(spool)
    assert run.code == 0, run.errors
    failed = [record for record in ledger_of(tmp_path) if record["kind"] == "failed"]
    assert failed
    assert {(record["failure"], record["host"]) for record in failed} == {("host_fault", "n1")}
    assert len(jobs_run(tmp_path)) == EVALUATIONS
    assert_no_job_left(slurm_accounting)


def test_cancel_spares_the_jobs_of_others(tmp_path: Path, slurm: SlurmCluster) -> None:
    slurm.run("sbatch", "--job-name=study-of-somebody-else", "--output=/dev/null", "--wrap=sleep 60")
    study = write_command_study(tmp_path, "import time; time.sleep(60)", profile=SLURM_PROFILE)
    command = [sys.executable, "-m", "orchestrator"]
    launch = ["launch", str(study), "--profile", str(tmp_path / "profile.toml"), "--detach"]
    subprocess.run([*command, *launch], check=True, stdout=subprocess.DEVNULL)
    slurm.wait("our jobs", lambda: any(r["kind"] == "submitted" for r in ledger_of(tmp_path)))
    subprocess.run([*command, "cancel", str(tmp_path / "runs/study")], check=True, stdout=subprocess.DEVNULL)
    slurm.wait("our jobs to end", lambda: len(slurm.run("squeue", "--noheader", "--array").splitlines()) == 1)
    assert "study-of" in slurm.run("squeue", "--noheader", "--format=%.20j")
