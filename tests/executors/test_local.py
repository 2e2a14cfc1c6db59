"""Jobs as processes of this host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.contract import Failure
from orchestrator.errors import InputError
from orchestrator.executors import JobState, State
from orchestrator.executors.base import Overrides
from orchestrator.executors.local import devices, processes
from orchestrator.executors.local.executor import LocalExecutor
from tests.executors.attempts import ENTRY, ROOT, Run, poll_until, resources, started, until


def ended(state: JobState) -> bool:
    return state.state is State.ENDED


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Tokens start with the run's own number, so that runs beside this one do not see each other's jobs."""
    run = Run(tmp_path, LocalExecutor(resources(), ENTRY))
    yield run
    left = [job for jobs in run.executor.find(_prefix()).values() for job in jobs]
    run.executor.cancel(left)


def _prefix() -> str:
    return f"test{os.getpid()}-"


def _token(name: str) -> str:
    return _prefix() + name


def test_jobs_run_to_their_end_and_their_logs_are_where_they_are_said_to_be(run: Run) -> None:
    jobs, attempts = run.submit(_token("a"), {}, {"sleep": 1}, {"fail": True})
    assert len(set(jobs)) == 3
    assert run.executor.poll(jobs)[jobs[1]].state is State.RUNNING
    states = poll_until(run.executor, jobs, ended)
    assert [(attempt / "result.txt").exists() for attempt in attempts] == [True, True, False]
    assert {state.failure for state in states} == {Failure.KILLED}
    assert "told to fail" in run.executor.log(jobs[2], run.path / "jobs" / _token("a")).read_text()
    assert run.executor.find(_prefix()) == {}


def test_environment_and_setup_reach_the_job_unharmed(tmp_path: Path) -> None:
    nasty = "a 'b' \"c\" $HOME `d` é\nend"
    executor = LocalExecutor(
        resources(environment={"PYTHONPATH": str(ROOT), "NASTY": nasty}, setup=("export SET='by setup'",)),
        ENTRY,
    )
    run = Run(tmp_path, executor)
    jobs, attempts = run.submit(_token("env"), {})
    seen = started(*attempts)[0]["environment"]
    assert (seen["NASTY"], seen["SET"]) == (nasty, "by setup")
    assert seen["CUDA_VISIBLE_DEVICES"] == ""
    # The job knows itself by the id the master has.
    assert seen["SUBMITIT_LOCAL_JOB_ID"] == jobs[0]
    poll_until(executor, jobs, ended)


def test_another_master_finds_polls_and_cancels_the_jobs_of_a_killed_one(run: Run) -> None:
    token = _token("orphan")
    attempts, folder = run.prepare(token, {"sleep": 600}, {"sleep": 600})
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from orchestrator.executors.local.executor import LocalExecutor\n"
        "from tests.executors.attempts import ENTRY, resources\n"
        "*attempts, folder = map(Path, sys.argv[2:])\n"
        "print(*LocalExecutor(resources(), ENTRY).submit(attempts, sys.argv[1], folder), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    argv = [sys.executable, "-c", program, token, *map(str, attempts), str(folder)]
    master = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    jobs = master.stdout.split()
    assert (master.returncode, len(jobs)) == (-signal.SIGKILL, 2)

    assert run.executor.find(_prefix())[token] == jobs
    started(*attempts)
    assert all(state.state is State.RUNNING for state in run.executor.poll(jobs).values())
    run.executor.cancel(jobs[:1])
    states = run.executor.poll(jobs)
    assert (states[jobs[0]].state, states[jobs[0]].failure) == (State.ENDED, Failure.CANCELLED)
    assert states[jobs[1]].state is State.RUNNING
    assert run.executor.find(_prefix()) == {token: jobs[1:]}


def test_a_job_is_beyond_the_reach_of_the_masters_terminal(run: Run) -> None:
    jobs, attempts = run.submit(_token("session"), {"sleep": 600})
    pid = started(*attempts)[0]["pid"]
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)
    run.executor.cancel(jobs)


@pytest.mark.parametrize("stubborn", [False, True])
def test_cancel_ends_the_job_with_what_it_started(run: Run, stubborn: bool) -> None:
    jobs, attempts = run.submit(
        _token(f"cancel{stubborn}"), {"sleep": 600, "child": True, "stubborn": stubborn}
    )
    pid = started(*attempts)[0]["pid"]
    child = int((attempts[0] / "child").read_text())
    run.executor.cancel(jobs)
    for process in (pid, child):
        until(lambda process=process: processes.identity(process) is None, f"{process} to end", 5)  # type: ignore[misc]
    assert run.executor.poll(jobs)[jobs[0]].failure is Failure.CANCELLED
    run.executor.cancel(jobs)  # ended already: nothing to do


def test_what_outlives_a_killed_controller_is_killed_by_poll(run: Run) -> None:
    jobs, attempts = run.submit(_token("leader"), {"sleep": 600, "child": True})
    pid = started(*attempts)[0]["pid"]
    psutil.Process(int(jobs[0].partition("-")[0])).kill()
    poll_until(run.executor, jobs, ended)
    until(lambda: processes.identity(pid) is None, "the evaluation to end", 5)


def test_a_killed_evaluation_is_an_ended_job(run: Run) -> None:
    jobs, attempts = run.submit(_token("kill"), {"sleep": 600})
    os.kill(started(*attempts)[0]["pid"], signal.SIGKILL)
    assert poll_until(run.executor, jobs, ended)[0].failure is Failure.KILLED


def test_walltime_ends_a_job_that_does_not_end_itself(tmp_path: Path) -> None:
    executor = LocalExecutor(resources(walltime_min=0.05), ENTRY)
    jobs, attempts = Run(tmp_path, executor).submit(_token("wall"), {"sleep": 600, "stubborn": True})
    started(*attempts)
    assert poll_until(executor, jobs, ended, 15)[0].failure is Failure.WALLTIME


def test_a_submission_has_its_own_walltime(tmp_path: Path) -> None:
    run = Run(tmp_path, LocalExecutor(resources(walltime_min=5), ENTRY))
    attempts, folder = run.prepare(_token("overrides"), {"sleep": 600})
    overrides = Overrides(walltime_min=0.05, exclude=("localhost",))  # there is no other host
    jobs = run.executor.submit(attempts, _token("overrides"), folder, overrides)
    assert poll_until(run.executor, jobs, ended, 30)[0].failure is Failure.WALLTIME


def test_an_id_that_was_given_to_another_process_is_an_ended_job() -> None:
    executor = LocalExecutor(resources(), ENTRY)
    mine = processes.identity(os.getpid())
    assert mine is not None
    pid, _, tick = mine.partition("-")
    before = f"{pid}-{int(tick) - 1}"
    assert executor.poll([before])[before].state is State.ENDED
    executor.cancel([before])  # and does not end this process


def test_a_zombie_has_ended() -> None:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    job = processes.identity(child.pid)
    assert job is not None
    assert processes.age_s(job) is not None
    child.kill()
    until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE, "a zombie", 5)
    assert processes.age_s(job) is None
    child.wait()


def test_gpus_go_to_the_job_that_shares_them_with_the_fewest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,GPU-x")
    busy = [{"CUDA_VISIBLE_DEVICES": "4"}, {"CUDA_VISIBLE_DEVICES": "4,5"}, {}]
    assert devices.free_devices(0, busy) == ""
    assert devices.free_devices(1, busy) == "GPU-x"
    assert devices.free_devices(2, busy) == "GPU-x,5"
    assert devices.free_devices(9, busy) == "GPU-x,5,4"


def test_concurrent_jobs_get_different_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    executor = LocalExecutor(resources(gpus=1), ENTRY)
    jobs, attempts = Run(tmp_path, executor).submit(_token("gpus"), {"sleep": 600}, {"sleep": 600})
    seen = {one["environment"]["CUDA_VISIBLE_DEVICES"] for one in started(*attempts)}
    executor.cancel(jobs)
    assert len(seen) == 2
    assert seen < {"0", "1", "2"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"hosts": 2}, "one host"), ({"options": {"partition": "x"}}, "remove partition")],
)
def test_resources_a_host_cannot_give_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        LocalExecutor(resources(**changes))
