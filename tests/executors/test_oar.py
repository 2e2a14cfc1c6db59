"""Jobs of a real OAR cluster: what is submitted, found, waited for and cancelled."""

from __future__ import annotations

import shlex
from contextlib import suppress

import psutil
import pytest

from orchestrator.contract import Failure
from orchestrator.errors import Full, InputError, Refused
from orchestrator.executors import State
from orchestrator.executors.base import Overrides
from orchestrator.executors.oar.executor import OarExecutor
from tests.clusters.oar import OarCluster
from tests.executors.attempts import ENTRY, ROOT, Run, poll_until, resources, started
from tests.executors.oar_jobs import PATIENCE_S, ended, executor, run_in, running

ASSIGNED = (
    "from resources, assigned_resources, jobs where resources.resource_id = assigned_resources.resource_id "
    "and assigned_resources.moldable_job_id = jobs.assigned_moldable_job and jobs.job_id = {job}"
)


@pytest.fixture
def run(oar: OarCluster) -> Run:
    return run_in(oar)


def test_an_array_runs_and_leaves_its_results(run: Run, oar: OarCluster) -> None:
    jobs, attempts = run.submit("array", {}, {"sleep": 2}, {"fail": True}, {"say": "é"})
    assert run.executor.find("arr") == {"array": jobs}
    states = poll_until(run.executor, jobs, ended, PATIENCE_S)
    assert [state.word for state in states] == ["Terminated"] * 4
    assert [state.reason for state in states] == ["exit code 0", "exit code 0", "exit code 1", "exit code 0"]
    assert states[0].host in oar.hosts
    assert [(attempt / "result.txt").exists() for attempt in attempts] == [True, True, False, True]
    seen = [one["environment"] for one in started(*attempts)]
    assert [one["OAR_JOB_ID"] for one in seen] == jobs
    assert "told to fail" in run.executor.log(jobs[2], run.path / "jobs/array").read_text()
    assert run.executor.find("array") == {}


def test_environment_and_setup_reach_the_job_unharmed(oar: OarCluster) -> None:
    nasty = "a 'b' \"c\" $HOME `d` é"
    asked = executor(environment={"PYTHONPATH": str(ROOT), "NASTY": nasty}, setup=("export SET='by setup'",))
    jobs, attempts = run_in(oar, asked).submit("env", {})
    seen = started(*attempts, seconds=PATIENCE_S)[0]["environment"]
    assert (seen["NASTY"], seen["SET"]) == (nasty, "by setup")
    poll_until(asked, jobs, ended, PATIENCE_S)


def test_hosts_and_gpus_are_what_was_asked_for(oar: OarCluster) -> None:
    both = executor(hosts=2, gpus=4)
    none = executor(gpus=0)
    jobs, attempts = run_in(oar, both).submit("both", {})
    poll_until(both, jobs, ended, PATIENCE_S)
    few, _ = run_in(oar, none).submit("none", {})
    poll_until(none, few, ended, PATIENCE_S)
    assert len(started(*attempts)) == 1  # one evaluation is one process, however many hosts
    assert set(both.poll(jobs)[jobs[0]].host.split(",")) == set(oar.hosts)
    assert gpus_of(oar, jobs[0]) == 8
    assert cores_of(oar, few[0]) == 1


def alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def gpus_of(oar: OarCluster, job: str) -> int:
    return int(oar.sql(f"select count(distinct gpu) {ASSIGNED.format(job=job)}"))


def cores_of(oar: OarCluster, job: str) -> int:
    return int(oar.sql(f"select count(distinct core) {ASSIGNED.format(job=job)}"))


def test_jobs_keep_off_excluded_hosts(oar: OarCluster) -> None:
    asked = executor(options={"property": "cluster='chuc' AND gpu_count=4"})
    run = run_in(oar, asked)
    attempts, folder = run.prepare("elsewhere", {}, {})
    jobs = asked.submit(attempts, "elsewhere", folder, Overrides(exclude=oar.hosts[:1]))
    states = poll_until(asked, jobs, ended, PATIENCE_S)
    assert {state.host for state in states} == {oar.hosts[1]}
    with pytest.raises(Refused, match="not enough resources"):
        asked.submit(attempts, "nowhere", folder, Overrides(exclude=oar.hosts))
    assert asked.find("nowhere") == {}


def test_cancel_ends_exactly_the_jobs_named_and_leaves_nothing(run: Run) -> None:
    long = {"sleep": 600, "child": True, "stubborn": True}
    jobs, attempts = run.submit("cancel", long, long, {})
    seen = started(*attempts[:2], seconds=PATIENCE_S)
    poll_until(run.executor, jobs[2:], ended, PATIENCE_S)
    run.executor.cancel([jobs[0], jobs[2]])
    state = poll_until(run.executor, jobs[:1], ended, PATIENCE_S)[0]
    assert (state.word, state.failure) == ("Error", Failure.CANCELLED)
    assert not alive(seen[0]["pid"])
    assert not alive(int((attempts[0] / "child").read_text()))
    assert run.executor.poll(jobs)[jobs[1]].state is State.RUNNING
    assert run.executor.find("cancel") == {"cancel": [jobs[1]]}
    run.executor.cancel([jobs[0]])  # ended already: nothing to do


def test_a_waiting_job_is_held_resumed_and_cancelled(oar: OarCluster) -> None:
    all_of_it = executor(hosts=2, gpus=4)
    run = run_in(oar, all_of_it)
    first, _ = run.submit("first", {"sleep": 600})
    second, _ = run.submit("second", {})
    poll_until(all_of_it, first, running, PATIENCE_S)
    assert all_of_it.poll(second)[second[0]].state is State.PENDING
    oar.run("oarhold", second[0])
    held = poll_until(all_of_it, second, lambda state: state.word == "Hold", PATIENCE_S)[0]
    assert held.state is State.PENDING
    assert held.remedy == f"`oarresume {second[0]}` lets it start, `oardel {second[0]}` gives it up"
    oar.run("oarresume", second[0])
    waits = poll_until(all_of_it, second, lambda state: state.word == "Waiting", PATIENCE_S)[0]
    assert not waits.remedy
    all_of_it.cancel(second)
    assert poll_until(all_of_it, second, ended, PATIENCE_S)[0].failure is Failure.CANCELLED
    assert run.executor.find("") == {"first": first}


def test_sigterm_reaches_the_evaluation_itself(oar: OarCluster, run: Run) -> None:
    jobs, attempts = run.submit("term", {"sleep": 600})
    started(*attempts, seconds=PATIENCE_S)
    oar.run("oardel", "-s", "SIGTERM", jobs[0])
    state = poll_until(run.executor, jobs, ended, PATIENCE_S)[0]
    assert (state.word, state.failure, state.reason) == ("Terminated", Failure.KILLED, "killed by signal 15")


def test_a_longer_walltime_is_a_submissions_own(oar: OarCluster, run: Run) -> None:
    attempts, folder = run.prepare("longer", {})
    jobs = run.executor.submit(attempts, "longer", folder, Overrides(walltime_min=61.5))
    assert (
        oar.sql(f"select moldable_walltime from moldable_job_descriptions where moldable_job_id={jobs[0]}")
        == "3690"
    )


def test_what_oar_refuses_is_told_in_its_words(oar: OarCluster) -> None:
    for asked, words in (
        (executor(options={"queue": "nowhere"}), "queue nowhere does not exist"),
        (executor(options={"type": "nonsense"}), "unknown job type: nonsense"),
        (executor(options={"property": "colour='red'"}), 'column "colour" does not exist'),
        (executor(gpus=5), "not enough resources"),
    ):
        with pytest.raises(Refused, match=words):
            run_in(oar, asked).submit("refused", {})
        assert asked.find("refused") == {}


def test_a_limit_on_jobs_is_no_final_refusal(oar: OarCluster, run: Run) -> None:
    oar.faults.limit_jobs(2)
    with pytest.raises(Full, match="cannot have more than 2 jobs"):
        run.submit("three", {}, {}, {})
    assert run.executor.find("three") == {}
    jobs, _ = run.submit("two", {}, {})
    poll_until(run.executor, jobs, ended, PATIENCE_S)


def test_a_command_waits_for_the_job_before_it(oar: OarCluster, run: Run) -> None:
    first, _ = run.submit("first", {"sleep": 5})
    _, folder = run.prepare("master", {})
    argv = ["/bin/sh", "-c", f"date +%s >{shlex.quote(str(folder / 'at'))}; echo $OAR_JOB_ID >&2; exit 3"]
    asked = executor(gpus=4, options={"property": "cluster='chuc'"})
    job = asked.submit_command(argv, "master", folder, walltime_min=2, after=first[0])
    assert asked.find("master") == {"master": [job]}
    state = poll_until(asked, [job], ended, PATIENCE_S)[0]
    assert state.reason == "exit code 3"
    assert asked.log(job, folder).read_text() == f"{job}\n"
    assert cores_of(oar, job) == 1
    over = oar.sql(f"select stop_time from jobs where job_id = {first[0]}")
    assert int((folder / "at").read_text()) >= int(over)


def test_ids_under_another_name_are_other_jobs(oar: OarCluster, run: Run) -> None:
    jobs, _ = run.submit("theirs", {"sleep": 600})
    ours = OarExecutor(resources(), ENTRY, prefix="ours", grace_s=1.0)
    ours.cancel(jobs)
    poll_until(ours, [*jobs, "999999"], lambda state: state.state is State.LOST, PATIENCE_S)
    assert ours.find("") == {}
    assert run.executor.poll(jobs)[jobs[0]].state in (State.PENDING, State.RUNNING)


def test_a_path_oar_cannot_take_is_named(oar: OarCluster) -> None:
    with pytest.raises(InputError, match="choose another run directory"):
        Run(oar.shared, executor()).submit("nasty", {})


def test_oarsub_that_is_missing_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nonexistent")
        with pytest.raises(InputError, match="oarsub is not on PATH"):
            run.submit("nowhere", {})
        assert run.executor.poll(["1"])["1"].state is State.UNKNOWN
