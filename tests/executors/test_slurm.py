"""Jobs of a real SLURM cluster, and what becomes of them when parts of it fail."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psutil
import pytest

from orchestrator.contract import Failure
from orchestrator.errors import InputError, SchedulerError
from orchestrator.executors import JobState, State
from orchestrator.executors.slurm.executor import SlurmExecutor
from tests.clusters.slurm import SlurmCluster
from tests.executors.attempts import ENTRY, ROOT, Run, poll_until, resources, started, until

PATIENCE_S = 2.0


def ended(state: JobState) -> bool:
    return state.state is State.ENDED


def executor(**changes: object) -> SlurmExecutor:
    asked = resources(gpus=1, **changes)
    return SlurmExecutor(asked, ENTRY, answer_s=PATIENCE_S, submit_s=PATIENCE_S, grace_s=2.0)


@pytest.fixture
def run(slurm: SlurmCluster, tmp_path: Path) -> Run:
    return Run(tmp_path, executor())


@pytest.fixture(scope="module", autouse=True)
def overdue(
    slurm_cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SlurmExecutor, str]:
    """A job of one minute that sleeps for ten; SLURM looks at limits only now and then, other tests go on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", slurm_cluster.environment["SLURM_CONF"])
        slow = executor()
        jobs, attempts = Run(tmp_path_factory.mktemp("overdue"), slow).submit("overdue", {"sleep": 600})
        started(*attempts)
    return slow, jobs[0]


def test_an_array_runs_and_leaves_its_results(run: Run) -> None:
    jobs, attempts = run.submit("array", {}, {"sleep": 2}, {"fail": True}, {"say": "é"})
    array = jobs[0].partition("_")[0]
    assert jobs == [f"{array}_{index}" for index in range(4)]
    assert run.executor.find("arr") == {"array": jobs}
    states = poll_until(run.executor, jobs, ended)
    assert [state.word for state in states] == ["COMPLETED", "COMPLETED", "FAILED", "COMPLETED"]
    assert states[0].host in {"n1", "n2", "n3", "n4"}
    assert [(attempt / "result.txt").exists() for attempt in attempts] == [True, True, False, True]
    devices = {seen["environment"]["CUDA_VISIBLE_DEVICES"] for seen in started(*attempts)}
    assert devices <= {"0", "1", "2", "3"}
    assert "told to fail" in run.executor.log(jobs[2], run.path / "jobs/array").read_text()
    assert run.executor.find("array") == {}


def test_environment_and_setup_reach_the_job_unharmed(slurm: SlurmCluster, tmp_path: Path) -> None:
    nasty = "a 'b' \"c\" $HOME `d` é"
    asked = executor(environment={"PYTHONPATH": str(ROOT), "NASTY": nasty}, setup=("export SET='by setup'",))
    jobs, attempts = Run(tmp_path, asked).submit("env", {})
    seen = started(*attempts)[0]["environment"]
    assert (seen["NASTY"], seen["SET"]) == (nasty, "by setup")
    poll_until(asked, jobs, ended)


def test_one_evaluation_is_one_process_however_many_hosts(slurm: SlurmCluster, tmp_path: Path) -> None:
    asked = executor(hosts=2)
    jobs, attempts = Run(tmp_path, asked).submit("hosts", {})
    assert poll_until(asked, jobs, ended)[0].word == "COMPLETED"
    seen = started(*attempts)[0]["environment"]
    assert (seen["SLURM_JOB_NUM_NODES"], seen["SLURM_NTASKS"]) == ("2", "1")


def test_cancel_ends_exactly_the_jobs_named(run: Run) -> None:
    jobs, attempts = run.submit("cancel", {"sleep": 600}, {"sleep": 600}, {})
    started(*attempts[:2])
    poll_until(run.executor, jobs[2:], ended)
    run.executor.cancel([jobs[0], jobs[2]])
    state = poll_until(run.executor, jobs[:1], ended)[0]
    assert (state.word, state.failure) == ("CANCELLED", Failure.CANCELLED)
    assert run.executor.poll(jobs)[jobs[1]].state is State.RUNNING
    assert run.executor.find("cancel") == {"cancel": [jobs[1]]}
    run.executor.cancel([jobs[0]])  # ended already: nothing to do


def test_a_pending_job_says_why_and_can_be_cancelled(slurm: SlurmCluster, tmp_path: Path) -> None:
    asked = executor(options={"begin": "now+1hour"})
    jobs, _ = Run(tmp_path, asked).submit("later", {}, {})
    states = poll_until(asked, jobs, lambda state: state.reason == "BeginTime")
    assert {state.state for state in states} == {State.PENDING}
    asked.cancel(jobs)
    assert {state.failure for state in poll_until(asked, jobs, ended)} == {Failure.CANCELLED}


def test_a_waiting_job_that_is_cancelled_among_others_has_ended(slurm: SlurmCluster, tmp_path: Path) -> None:
    asked = executor(options={"begin": "now+1hour"})
    jobs, _ = Run(tmp_path, asked).submit("later", {}, {})
    poll_until(asked, jobs, lambda state: state.state is State.PENDING)
    slurm.run("scancel", jobs[0])
    assert poll_until(asked, jobs[:1], ended)[0].failure is Failure.CANCELLED
    assert asked.poll(jobs)[jobs[1]].state is State.PENDING


def test_a_killed_evaluation_is_a_failed_job(run: Run) -> None:
    jobs, attempts = run.submit("kill", {"sleep": 600})
    psutil.Process(started(*attempts)[0]["pid"]).kill()
    state = poll_until(run.executor, jobs, ended)[0]
    assert (state.word, state.failure) == ("FAILED", Failure.KILLED)


def test_a_job_over_its_memory_is_killed_and_its_log_says_why(slurm: SlurmCluster, tmp_path: Path) -> None:
    """Without cgroups SLURM has no word for it: OUT_OF_MEMORY comes where cgroups are."""
    asked = executor(options={"mem": "200M"})
    run = Run(tmp_path, asked)
    jobs, _ = run.submit("memory", {"allocate_mb": 600, "sleep": 600})
    state = poll_until(asked, jobs, ended)[0]
    assert (state.word, state.failure) == ("FAILED", Failure.KILLED)
    assert "memory limit" in asked.log(jobs[0], run.path / "jobs/memory").read_text()


def test_what_slurm_refuses_is_told_in_its_words(slurm: SlurmCluster, tmp_path: Path) -> None:
    asked = executor(options={"partition": "nowhere"})
    with pytest.raises(SchedulerError, match=r"sbatch failed.*invalid partition specified: nowhere"):
        Run(tmp_path, asked).submit("refused", {})
    assert asked.find("refused") == {}


def test_a_controller_that_is_down_is_an_error_of_the_scheduler(slurm: SlurmCluster, run: Run) -> None:
    jobs, _ = run.submit("down", {"sleep": 600})
    slurm.faults.stop("slurmctld")
    assert run.executor.poll(jobs)[jobs[0]].state is State.UNKNOWN
    for call in (
        lambda: run.submit("down-2", {}),
        lambda: run.executor.find("down"),
        lambda: run.executor.cancel(jobs),
    ):
        with pytest.raises(SchedulerError):
            call()
    slurm.faults.start("slurmctld")
    poll_until(run.executor, jobs, lambda state: state.state in (State.PENDING, State.RUNNING))
    assert run.executor.find("down") == {"down": jobs}


def test_a_submission_whose_answer_was_lost_is_found(slurm: SlurmCluster, run: Run) -> None:
    known, _ = run.submit("paused-1", {"sleep": 600})
    slurm.faults.pause("slurmctld")
    with pytest.raises(SchedulerError, match="sbatch gave no answer within 2 s"):
        run.submit("paused-2", {"sleep": 600}, {"sleep": 600})
    assert run.executor.poll(known)[known[0]].state is State.UNKNOWN
    with pytest.raises(SchedulerError):
        run.executor.find("paused")
    slurm.faults.cont("slurmctld")
    found = run.executor.find("paused")
    assert found["paused-1"] == known
    # Killed sbatch, job there all the same: it runs, though no one ever gave its pickles their names.
    assert len(found["paused-2"]) == 2
    started(*(run.path / "trials" / f"paused-2-{index}" for index in range(2)))


def test_find_waits_for_a_submission_in_flight(slurm: SlurmCluster, run: Run) -> None:
    """The master was killed, its sbatch lives on and succeeds later."""
    _, folder = run.prepare("flight", {})
    script = folder / "flight.sh"
    first, _ = run.submit("flight", {})
    poll_until(run.executor, first, ended)
    run.prepare("flight", {"sleep": 600})
    slurm.faults.pause("slurmctld")
    orphan = subprocess.Popen(["sbatch", "--parsable", str(script)], stdout=subprocess.PIPE, text=True)
    psutil.Process(orphan.pid).suspend()
    slurm.faults.cont("slurmctld")
    resumed = subprocess.Popen(["sh", "-c", f"sleep 2; kill -CONT {orphan.pid}"])
    began = time.monotonic()
    found = SlurmExecutor(resources()).find("flight")
    assert time.monotonic() - began > 2
    told, _ = orphan.communicate()
    resumed.wait()
    assert found == {"flight": [f"{told.strip()}_0"]}


def preempt(path: Path, partition: str) -> tuple[SlurmExecutor, str]:
    """A job that has just lost its host to another one for two seconds."""
    low = executor(options={"partition": partition, "nodelist": "n4", "exclusive": True})
    jobs, attempts = Run(path, low).submit("low", {"sleep": 600})
    started(*attempts)
    Run(path, executor(options={"nodelist": "n4", "exclusive": True})).submit("high", {"sleep": 2})
    return low, jobs[0]


def test_a_preempted_job_comes_back_under_its_id(slurm: SlurmCluster, tmp_path: Path) -> None:
    low, job = preempt(tmp_path, "preempt")
    seen: list[State] = []

    def back(state: JobState) -> bool:
        seen.append(state.state)
        return State.PENDING in seen and state.state is State.RUNNING

    poll_until(low, [job], back, 60)
    assert not {State.ENDED, State.LOST} & set(seen)


def test_a_preempted_job_that_ends_in_its_grace_time_has_failed(slurm: SlurmCluster, tmp_path: Path) -> None:
    """SLURM requeues what it killed, not what ended by itself on SIGTERM, and calls that FAILED."""
    low, job = preempt(tmp_path, "preemptgrace")
    state = poll_until(low, [job], ended)[0]
    assert (state.word, state.failure) == ("FAILED", Failure.PREEMPTED)


def test_a_job_that_is_cancelled_for_another_was_preempted(slurm: SlurmCluster, tmp_path: Path) -> None:
    low, job = preempt(tmp_path, "preemptcancel")
    state = poll_until(low, [job], ended)[0]
    assert (state.word, state.failure) == ("PREEMPTED", Failure.PREEMPTED)


def test_a_job_whose_host_died_comes_back(slurm: SlurmCluster, tmp_path: Path) -> None:
    run = Run(tmp_path, executor(options={"exclude": "n1,n2"}))
    jobs, attempts = run.submit("host", {"sleep": 600})
    started(*attempts)
    host = run.executor.poll(jobs)[jobs[0]].host
    slurm.faults.kill_host(host)
    slurm.run("scontrol", "update", f"NodeName={host}", "State=DOWN", "Reason=test")
    seen = set()

    def elsewhere(state: JobState) -> bool:
        seen.add(state.state)
        return state.state is State.RUNNING and state.host != host

    poll_until(run.executor, jobs, elsewhere, 60)
    assert not seen & {State.ENDED, State.LOST}
    slurm.faults.start(host)


def test_a_job_slurm_has_forgotten_is_lost(run: Run) -> None:
    never = "999999_0"
    assert run.executor.poll([never])[never].state is State.UNKNOWN
    poll_until(run.executor, [never], lambda state: state.state is State.LOST, 10)


def test_accounting_knows_what_has_left_the_queue(slurm_accounting: SlurmCluster, tmp_path: Path) -> None:
    first = executor()
    jobs, attempts = Run(tmp_path, first).submit("past", {}, {"sleep": 600}, {"fail": True})
    started(attempts[1])
    first.cancel([jobs[1]])
    poll_until(first, jobs, ended)

    later = executor()
    later._queue = dict  # type: ignore[method-assign]  # the queue has forgotten them
    states = poll_until(later, jobs, ended)
    assert [state.word for state in states] == ["COMPLETED", "CANCELLED", "FAILED"]
    assert states[2].reason == "exit code 1:0"

    slurm_accounting.faults.pause("slurmdbd")
    paused = executor()
    paused._queue = dict  # type: ignore[method-assign]
    assert paused.poll(jobs)[jobs[0]].state is State.UNKNOWN
    slurm_accounting.faults.cont("slurmdbd")


def test_jobs_survive_a_restart_of_the_controller(slurm: SlurmCluster, run: Run) -> None:
    jobs, attempts = run.submit("restart", {"sleep": 600})
    started(*attempts)
    poll_until(run.executor, jobs, lambda state: state.state is State.RUNNING)
    # The controller writes its state some seconds after a change: what it had not written, a crash forgets.
    changed = time.time()
    slurm.run("scontrol", "update", f"jobid={jobs[0]}", "nice=1")
    saved = slurm.directory / "state/job_state"
    slurm.wait("the state on disk", lambda: saved.exists() and saved.stat().st_mtime > changed)
    slurm.faults.kill("slurmctld")
    slurm.faults.start("slurmctld")
    poll_until(run.executor, jobs, lambda state: state.state is State.RUNNING)


def test_two_clusters_at_once_do_not_see_each_other(
    slurm: SlurmCluster, slurm_cluster_accounting: SlurmCluster, run: Run
) -> None:
    jobs, _ = run.submit("mine", {"sleep": 600})
    until(lambda: jobs[0] in slurm.squeue(), "the job in the queue")
    text = slurm_cluster_accounting.run("squeue", "--noheader", "--format=%j")
    assert "mine" not in text


def test_sbatch_that_is_missing_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nonexistent")
        with pytest.raises(InputError, match="sbatch is not on PATH"):
            run.submit("nowhere", {})
        assert run.executor.poll(["1_0"])["1_0"].state is State.UNKNOWN


def test_a_job_over_its_walltime_timed_out(overdue: tuple[SlurmExecutor, str], slurm: SlurmCluster) -> None:
    slow, job = overdue
    state = poll_until(slow, [job], ended, 150)[0]
    assert (state.word, state.failure) == ("TIMEOUT", Failure.WALLTIME)
