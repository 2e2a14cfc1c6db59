"""Jobs of a real OAR cluster when parts of it fail."""

from __future__ import annotations

import ast
import subprocess
import sys

import psutil
import pytest

from orchestrator.contract import Failure
from orchestrator.errors import Refused, SchedulerError
from orchestrator.executors import State
from orchestrator.executors.command import NoAnswer
from orchestrator.executors.oar.executor import OarExecutor
from tests.clusters.oar import OarCluster
from tests.executors.attempts import ENTRY, ROOT, Run, poll_until, resources, started
from tests.executors.oar_jobs import PATIENCE_S, ended, executor, run_in, running

MASTER = f"""
import sys
from pathlib import Path
from orchestrator.executors.base import Resources
from orchestrator.executors.oar.executor import OarExecutor
resources = Resources(1, 0, 1.0, 1, (), {{"PYTHONPATH": {str(ROOT)!r}}}, {{}})
asked = OarExecutor(resources, {ENTRY!r}, submit_s=2.0)
try:
    asked.submit([Path(sys.argv[1])], "slow", Path(sys.argv[2]))
except Exception as error:
    print(error, flush=True)
sys.stdin.read()
print(asked.find("slow"))
"""


@pytest.fixture
def run(oar: OarCluster) -> Run:
    return run_in(oar)


def test_a_killed_evaluation_is_a_failed_job(run: Run) -> None:
    jobs, attempts = run.submit("kill", {"sleep": 600})
    psutil.Process(started(*attempts, seconds=PATIENCE_S)[0]["pid"]).kill()
    state = poll_until(run.executor, jobs, ended, PATIENCE_S)[0]
    assert (state.failure, state.reason) == (Failure.KILLED, "killed by signal 9")


def test_a_job_over_its_walltime_is_told_from_a_cancelled_one(oar: OarCluster) -> None:
    short = executor(walltime_min=0.1)
    jobs, _ = run_in(oar, short).submit("short", {"sleep": 600, "stubborn": True})
    state = poll_until(short, jobs, ended, PATIENCE_S)[0]
    assert (state.word, state.failure) == ("Error", Failure.WALLTIME)


def test_a_besteffort_job_that_must_give_way_was_preempted(oar: OarCluster) -> None:
    low = executor(gpus=4, options={"type": "besteffort night"})
    jobs, attempts = run_in(oar, low).submit("low", {"sleep": 600})
    started(*attempts, seconds=PATIENCE_S)
    high, _ = run_in(oar, executor(hosts=2, gpus=4)).submit("high", {})
    state = poll_until(low, jobs, ended, PATIENCE_S)[0]
    assert state.failure is Failure.PREEMPTED
    poll_until(low, high, ended, PATIENCE_S)


def test_a_job_whose_host_is_set_dead_has_lost_its_host(oar: OarCluster, run: Run) -> None:
    jobs, attempts = run.submit("host", {"sleep": 600})
    started(*attempts, seconds=PATIENCE_S)
    host = run.executor.poll(jobs)[jobs[0]].host
    oar.faults.set_host(host, "Dead")
    state = poll_until(run.executor, jobs, ended, PATIENCE_S)[0]
    assert (state.failure, state.host) == (Failure.HOST_FAULT, host)


def test_a_job_that_no_host_can_take_any_more_says_what_to_do(oar: OarCluster) -> None:
    both = executor(hosts=2, gpus=4)
    first, _ = run_in(oar).submit("first", {"sleep": 600})
    poll_until(both, first, running, PATIENCE_S)
    jobs, _ = run_in(oar, both).submit("both", {})
    oar.faults.set_host(oar.hosts[0], "Dead")
    state = poll_until(both, jobs, lambda state: bool(state.remedy), PATIENCE_S)[0]
    assert state.state is State.PENDING
    assert "hosts that are up" in state.remedy


def test_a_job_that_oar_submits_again_is_followed(oar: OarCluster, run: Run) -> None:
    """A prologue that fails: OAR suspects the host, and submits a new job by itself."""
    whole = executor(gpus=4, options={"property": f"host='{oar.hosts[1]}'"})
    other, _ = run_in(oar, whole).submit("other", {"sleep": 600})
    poll_until(whole, other, running, PATIENCE_S)
    oar.faults.break_host(oar.hosts[0])
    attempts, folder = run.prepare("again", {}, {"say": "second"})
    jobs = run.executor.submit(attempts, "again", folder)
    oar.wait("new jobs", lambda: len(oar.jobs()) >= int(jobs[-1]) + 2)
    poll_until(run.executor, jobs, lambda state: state.state is State.PENDING, PATIENCE_S)
    assert run.executor.find("again") == {"again": [str(int(jobs[-1]) + 1), str(int(jobs[-1]) + 2)]}
    whole.cancel(other)
    states = poll_until(run.executor, jobs, ended, PATIENCE_S)
    assert {state.word for state in states} == {"Terminated"}
    assert {state.host for state in states} == {oar.hosts[1]}
    assert [(attempt / "result.txt").read_text() for attempt in attempts] == ["done", "second"]


def test_what_is_submitted_while_the_server_is_down_runs_later(oar: OarCluster, run: Run) -> None:
    """oarsub says that the job is killed; it is in the database all the same."""
    before, _ = run.submit("before", {"sleep": 600})
    oar.faults.stop("almighty")
    jobs, _ = run.submit("while", {}, {})
    assert {state.state for state in run.executor.poll(jobs).values()} == {State.PENDING}
    assert run.executor.find("wh") == {"while": jobs}
    oar.faults.start("almighty")
    poll_until(run.executor, jobs, ended, PATIENCE_S)
    poll_until(run.executor, before, running, PATIENCE_S)


def test_a_database_that_is_down_is_no_answer(oar: OarCluster, run: Run) -> None:
    jobs, _ = run.submit("down", {"sleep": 600})
    oar.faults.stop("postgres")
    assert run.executor.poll(jobs)[jobs[0]].state is State.UNKNOWN
    for call in (
        lambda: run.submit("down-2", {}),
        lambda: run.executor.find("down"),
        lambda: run.executor.cancel(jobs),
    ):
        with pytest.raises(SchedulerError) as failed:
            call()
        assert not isinstance(failed.value, Refused)
    oar.faults.start("postgres")
    poll_until(run.executor, jobs, lambda state: state.state in (State.PENDING, State.RUNNING), PATIENCE_S)
    assert run.executor.find("down") == {"down": jobs}


def test_a_submission_whose_answer_was_lost_is_found(oar: OarCluster) -> None:
    hasty = OarExecutor(resources(gpus=1), ENTRY, answer_s=2.0, submit_s=2.0)
    run = run_in(oar, hasty)
    known, _ = Run(run.path, executor(), ".").submit("paused-1", {"sleep": 600})
    oar.faults.pause("postgres")
    with pytest.raises(NoAnswer, match="oarsub gave no answer within 2 s"):
        run.submit("paused-2", {"sleep": 600}, {"sleep": 600})
    assert hasty.poll(known)[known[0]].state is State.UNKNOWN
    oar.faults.cont("postgres")
    assert executor().find("paused-1") == {"paused-1": known}


def test_an_oarsub_that_may_not_be_killed_is_given_up_and_then_awaited(oar: OarCluster) -> None:
    """OAR's commands run as OAR's user: an ordinary master cannot end one, nor may it wait for ever."""
    run = run_in(oar)
    run.prepare("slow", {})
    oar.faults.pause("postgres")
    argv = [sys.executable, "-c", MASTER, str(run.path / "trials/slow-0"), str(run.path / "jobs/slow")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as master:
        assert master.stdin is not None
        assert master.stdout is not None
        assert master.stdout.readline() == "oarsub gave no answer within 2 s\n"
        oar.faults.cont("postgres")
        master.stdin.close()
        found = ast.literal_eval(master.stdout.read())
    jobs = found["slow"]
    assert len(jobs) == 1
    poll_until(run.executor, jobs, ended, PATIENCE_S)
    assert (run.path / "trials/slow-0/result.txt").exists()
