"""The master as a chain of jobs of a real SLURM cluster."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from orchestrator.contract import publish
from orchestrator.contract.files import dumps
from orchestrator.master.chain import FRUITLESS
from orchestrator.record import History, RunDirectory
from orchestrator.record.directory import MasterProcess
from orchestrator.record.facts import Why
from orchestrator.record.ledger import read
from orchestrator.record.lock import Link
from tests.clusters.slurm import SlurmCluster
from tests.fakes.studies import SLURM_PROFILE, orchestrator, write_command_study

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
# A link goes on for 12 s.
PROFILE = (
    SLURM_PROFILE.replace("max_jobs = 4", "max_jobs = 2")
    + """ORCHESTRATOR_MASTER_MARGIN_MIN = "1.8"
[master]
walltime_min = 2
"""
)
HELD = PROFILE + "[master.options]\nhold = true\n"
EVALUATIONS = 12


def write(tmp_path: Path, profile: str = PROFILE, *, seconds: float = 3) -> Path:
    """A study whose evaluations leave a line each time they run."""
    ran = tmp_path / "ran"
    ran.touch()
    program = (
        "import json, os, sys, time\n"
        f"open({str(ran)!r}, 'a').write(os.path.dirname(sys.argv[1]) + '\\n')\n"
        f"time.sleep({seconds})\n"
        "json.dump({'loss': json.load(open(sys.argv[1]))['x']}, open(sys.argv[2], 'w'))"
    )
    return write_command_study(tmp_path, program, evaluations=EVALUATIONS, profile=profile)


def launch(tmp_path: Path, study: Path) -> RunDirectory:
    done = orchestrator("launch", study, "--profile", tmp_path / "profile.toml", "--as-job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the master is job " in done.stdout
    return RunDirectory(tmp_path / "runs/study")


def history(run: RunDirectory) -> History:
    return History.replay(read(run.ledger))


def log(run: RunDirectory) -> str:
    return run.log.read_text() if run.log.exists() else ""


def jobs(slurm: SlurmCluster) -> list[str]:
    """Jobs that are not over."""
    return [job for job, word in slurm.squeue().items() if word not in ENDED]


def newest(run: RunDirectory) -> Link:
    link = Link.newest(run)
    assert link is not None
    return link


def wait_for_link(slurm: SlurmCluster, run: RunDirectory, number: int) -> MasterProcess:
    """The master, once it is this link and its successor waits."""

    def there() -> bool:
        master = run.master()
        return master is not None and newest(run).number == number + 1 and bool(newest(run).job)

    slurm.wait(f"link {number}", there, seconds=300)
    master = run.master()
    assert master is not None
    return master


def assert_each_ran_once(tmp_path: Path, run: RunDirectory) -> None:
    done = history(run)
    assert done.ended is not None
    assert done.ended.why is Why.DONE
    assert len(done.spent) == EVALUATIONS
    assert all(t.evaluation is not None and t.evaluation.failure is None for t in done.spent)
    ran = (tmp_path / "ran").read_text().splitlines()
    assert len(ran) == len(set(ran)) == EVALUATIONS


def test_a_study_outlives_the_jobs_that_are_its_master_and_one_that_is_killed(
    tmp_path: Path, slurm: SlurmCluster
) -> None:
    run = launch(tmp_path, write(tmp_path))
    second = wait_for_link(slurm, run, 2)
    assert second.job
    state = json.loads(orchestrator("status", run.path, "--json", cwd=tmp_path).stdout)
    assert state["master"]["holder"]["job"] == second.job
    assert state["master"]["next_job"] == newest(run).job
    seen = json.loads(orchestrator("queue", run.path, "--json", cwd=tmp_path).stdout)
    assert {second.job, newest(run).job} <= {job["job"] for job in seen["master_jobs"]}
    os.kill(second.pid, signal.SIGKILL)
    slurm.wait("the end of the study", lambda: history(run).ended is not None, seconds=300)
    slurm.wait("every job to end", lambda: not jobs(slurm), seconds=120)
    assert_each_ran_once(tmp_path, run)
    assert newest(run).number > 3, log(run)
    assert newest(run).job == ""
    assert "goes on" in log(run)
    assert (run.report / "report.md").exists()


def test_a_link_takes_over_from_a_job_that_is_over_on_a_host_that_is_gone(
    tmp_path: Path, slurm: SlurmCluster
) -> None:
    run = launch(tmp_path, write(tmp_path, PROFILE.replace('"1.8"', '"0.5"')))
    first = wait_for_link(slurm, run, 1)
    slurm.run("scontrol", "hold", str(newest(run).job))
    os.kill(first.pid, signal.SIGKILL)
    slurm.wait("the killed job to be over", lambda: slurm.squeue()[first.job] in ENDED)
    publish(run.master_file, dumps(asdict(replace(first, host="elsewhere"))))
    # Nobody else may push it aside.
    refused = orchestrator("resume", run.path, cwd=tmp_path)
    assert refused.returncode == 2
    assert f"its master is a job already, {newest(run).job}" in refused.stderr
    slurm.run("scontrol", "release", str(newest(run).job))
    slurm.wait("the end of the study", lambda: history(run).ended is not None, seconds=180)
    slurm.wait("every job to end", lambda: not jobs(slurm), seconds=120)
    assert "may still run this study: host elsewhere" in log(run)
    assert_each_ran_once(tmp_path, run)


def test_wrong_input_ends_the_chain_and_its_log_says_why(tmp_path: Path, slurm: SlurmCluster) -> None:
    study = write(tmp_path, HELD)
    run = launch(tmp_path, study)
    study.write_text(study.read_text().replace("seed = 5", "seed = 6"))
    slurm.run("scontrol", "release", str(newest(run).job))
    slurm.wait("every job to end", lambda: not jobs(slurm), seconds=120)
    assert newest(run).job == ""
    assert "the study changed since launch" in log(run)
    assert "+seed = 6" in log(run)
    assert (tmp_path / "ran").read_text() == ""
    again = orchestrator("resume", run.path, "--as-job", cwd=tmp_path)
    assert again.returncode == 2
    assert "the study changed since launch" in again.stderr
    assert not jobs(slurm)


def test_links_that_die_and_leave_nothing_done_are_not_followed_for_ever(
    tmp_path: Path, slurm: SlurmCluster
) -> None:
    fault = '[environment]\nORCHESTRATOR_FAULT = "before-state:1"\n'
    run = launch(tmp_path, write(tmp_path, PROFILE.replace("[environment]\n", fault)))
    slurm.wait("every job to end", lambda: not jobs(slurm), seconds=300)
    assert f"{FRUITLESS} master's jobs in a row died and left nothing done" in log(run)
    assert newest(run).number == FRUITLESS + 1
    assert newest(run).job == ""


def test_a_chain_that_waits_is_named_and_taken_over_only_by_a_word(
    tmp_path: Path, slurm: SlurmCluster
) -> None:
    run = launch(tmp_path, write(tmp_path, HELD, seconds=0))
    job = str(newest(run).job)
    for words in (["resume"], ["resume", "--detach"], ["resume", "--as-job"]):
        refused = orchestrator(words[0], run.path, *words[1:], cwd=tmp_path)
        assert refused.returncode == 2
        assert f"its master is a job already, {job} " in refused.stderr
    shown = orchestrator("status", run.path, cwd=tmp_path).stdout
    assert f"job {job} is to go on with it" in shown
    assert f"master: job {job} PENDING: JobHeldUser" in orchestrator("queue", run.path, cwd=tmp_path).stdout
    done = orchestrator("resume", run.path, "--take-over", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not jobs(slurm)
    assert_each_ran_once(tmp_path, run)


@pytest.mark.parametrize("profile", [PROFILE, HELD], ids=["running", "waiting"])
def test_cancel_ends_the_chain_too(tmp_path: Path, slurm: SlurmCluster, profile: str) -> None:
    run = launch(tmp_path, write(tmp_path, profile, seconds=600))
    if profile is PROFILE:
        wait_for_link(slurm, run, 1)
        slurm.wait("evaluations to run", lambda: (tmp_path / "ran").read_text().count("\n") == 2)
    done = orchestrator("cancel", run.path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    slurm.wait("every job to end", lambda: not jobs(slurm), seconds=120)
    ended = history(run).ended
    assert ended is not None
    assert ended.why is Why.CANCELLED
    assert newest(run).job == ""


def test_a_profile_without_a_section_for_the_master_is_refused_before_there_is_a_run(tmp_path: Path) -> None:
    study = write(tmp_path, SLURM_PROFILE)
    done = orchestrator("launch", study, "--profile", tmp_path / "profile.toml", "--as-job", cwd=tmp_path)
    assert done.returncode == 2
    assert "[master]\nwalltime_min = 720" in done.stderr
    assert not (tmp_path / "runs").exists()
    (tmp_path / "local.toml").write_text((tmp_path / "profile.toml").read_text().replace("slurm", "local"))
    local = orchestrator("launch", study, "--profile", tmp_path / "local.toml", "--as-job", cwd=tmp_path)
    assert local.returncode == 2
    assert "the local scheduler has no jobs for a master: use --detach" in local.stderr
    assert not (tmp_path / "runs").exists()
    both = orchestrator(
        "launch", study, "--profile", tmp_path / "profile.toml", "--as-job", "--detach", cwd=tmp_path
    )
    assert "--detach and --as-job: give one of them" in both.stderr
