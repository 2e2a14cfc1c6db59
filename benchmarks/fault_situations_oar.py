"""The situations that jobs on OAR are put in, and what the executor is to say of each in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from orchestrator.contract import Assignment, Result
from orchestrator.errors import Full, Refused
from orchestrator.executors import JobState, State
from orchestrator.executors.base import Overrides
from orchestrator.executors.call import EVALUATE
from orchestrator.executors.oar.executor import OarExecutor
from tests.clusters.oar import OarCluster
from tests.executors.attempts import ENTRY, Run, poll_until, resources, started

PATIENCE_S = 300.0
LONG = {"sleep": 600}


def ended(state: JobState) -> bool:
    return state.state is State.ENDED


def running(state: JobState) -> bool:
    return state.state is State.RUNNING


def words(state: JobState) -> str:
    """In short: "ended killed exit code 3", "pending: `oarresume 7` …"."""
    if state.state is State.ENDED:
        return f"{state.failure}: {state.reason.partition(':')[0]}" if state.reason else str(state.failure)
    return f"{state.state}: {state.remedy}" if state.remedy else str(state.state)


@dataclass
class Stage:
    """Where a situation is played: the cluster, and a run directory on it."""

    oar: OarCluster

    def submit(self, *orders: dict[str, Any], token: str = "job", **asked: Any) -> Jobs:
        executor = OarExecutor(resources(**{"gpus": 1, "walltime_min": 10.0, **asked}), ENTRY, grace_s=5.0)
        run = Run(self.oar.shared, executor, token)
        ids, attempts = run.submit(token, *orders)
        return Jobs(executor, ids, attempts)

    def fill(self) -> Jobs:
        """A job that has all there is."""
        jobs = self.submit(LONG, token="all", hosts=2, gpus=4)
        jobs.start()
        return jobs


@dataclass
class Jobs:
    executor: OarExecutor
    ids: list[str]
    attempts: list[Path]

    def start(self) -> list[dict[str, Any]]:
        """Wait until they run; return what each evaluation saw."""
        seen = started(*self.attempts, seconds=PATIENCE_S)
        self.until(running)
        return seen

    def until(self, wanted: Callable[[JobState], bool]) -> list[JobState]:
        return poll_until(self.executor, self.ids, wanted, PATIENCE_S)

    def noticed(self, wanted: Callable[[JobState], bool] = ended) -> tuple[str, float]:
        """What is said in the end, and how many seconds from now."""
        began = time.monotonic()
        states = self.until(wanted)
        return " | ".join(sorted({words(state) for state in states})), time.monotonic() - began


Played = tuple[str, float | None]


def success(stage: Stage) -> Played:
    jobs = stage.submit({})
    started(*jobs.attempts, seconds=PATIENCE_S)
    return jobs.noticed()


def array(stage: Stage) -> Played:
    jobs = stage.submit(*({"say": str(index)} for index in range(16)))
    started(*jobs.attempts, seconds=PATIENCE_S)
    said, after_s = jobs.noticed()
    wrong = [i for i, one in enumerate(jobs.attempts) if (one / "result.txt").read_text() != str(i)]
    return (f"results of {wrong} are others'" if wrong else said), after_s


def exit_code(stage: Stage) -> Played:
    jobs = stage.submit({"fail": True})
    started(*jobs.attempts, seconds=PATIENCE_S)
    return jobs.noticed()


def silent_exit(stage: Stage) -> Played:
    """os._exit(0) before there is a result."""
    jobs = stage.submit(LONG, setup=("trap 'exit 0' TERM", "sleep 2", "exit 0"))
    jobs.until(lambda state: state.state is not State.PENDING)
    return jobs.noticed()


def sigkill(stage: Stage) -> Played:
    jobs = stage.submit(LONG)
    psutil.Process(jobs.start()[0]["pid"]).kill()
    return jobs.noticed()


def delete_running(stage: Stage) -> Played:
    jobs = stage.submit(LONG)
    jobs.start()
    jobs.executor.cancel(jobs.ids)
    return jobs.noticed()


def delete_waiting(stage: Stage) -> Played:
    stage.fill()
    jobs = stage.submit(LONG)
    jobs.executor.cancel(jobs.ids)
    return jobs.noticed()


def own_deadline(stage: Stage) -> Played:
    """The evaluation itself ends before its wall-time, with a result."""
    executor = OarExecutor(resources(walltime_min=0.25), EVALUATE)
    (attempt,), folder = Run(stage.oar.shared, executor, "deadline").prepare("deadline", {})
    section = {"kind": "synthetic", "function": "branin", "seconds": 600.0}
    assignment = Assignment(
        study="faults", trial=0, attempt=1, configuration={"x0": 0.0, "x1": 0.0}, seed=0, evaluation=section,
        metrics=("value",), cache=str(folder), walltime_min=0.25,
    )  # fmt: skip
    (attempt / "trial.json").write_text(assignment.model_dump_json())
    jobs = Jobs(executor, executor.submit([attempt], "deadline", folder), [attempt])
    jobs.until(running)
    said, after_s = jobs.noticed()
    result = Result.model_validate_json((attempt / "result.json").read_text())
    return f"result {result.failure}; {said}", after_s - 60 * 0.25


def walltime(stage: Stage) -> Played:
    jobs = stage.submit({**LONG, "stubborn": True}, walltime_min=0.2)
    jobs.start()
    said, after_s = jobs.noticed()
    return said, after_s - 60 * 0.2


def preemption(stage: Stage) -> Played:
    jobs = stage.submit(LONG, gpus=4, options={"type": "besteffort"})
    jobs.start()
    stage.submit({}, token="first", hosts=2, gpus=4)
    return jobs.noticed()


def hold(stage: Stage) -> Played:
    stage.fill()
    jobs = stage.submit({})
    stage.oar.run("oarhold", jobs.ids[0])
    said, after_s = jobs.noticed(lambda state: bool(state.remedy))
    return said.replace(jobs.ids[0], "ID"), after_s


def host_dead(stage: Stage) -> Played:
    jobs = stage.submit(LONG)
    jobs.start()
    stage.oar.faults.set_host(jobs.until(running)[0].host, "Dead")
    return jobs.noticed()


def no_host_left(stage: Stage) -> Played:
    stage.submit(LONG, token="one").start()
    jobs = stage.submit({}, hosts=2, gpus=4)
    stage.oar.faults.set_host(stage.oar.hosts[1], "Dead")
    return jobs.noticed(lambda state: bool(state.remedy))


def prologue(stage: Stage) -> Played:
    """OAR submits the job again by itself, under another id."""
    for host in stage.oar.hosts[:1]:
        stage.oar.faults.break_host(host)
    jobs = stage.submit({}, {}, {}, {}, gpus=2)
    return jobs.noticed()


def oarexec(stage: Stage) -> Played:
    """OAR sees it when the wall-time is over and the host does not take the kill."""
    jobs = stage.submit(LONG, walltime_min=0.5)
    jobs.start()
    stage.oar.faults.kill_oarexec(jobs.ids[0])
    return jobs.noticed()


def impossible(stage: Stage) -> Played:
    began = time.monotonic()
    try:
        stage.submit({}, gpus=9)
    except Refused as error:
        return f"refused: {str(error).partition(': ')[2][:40]}", time.monotonic() - began
    return "submitted", None


def too_many(stage: Stage) -> Played:
    stage.oar.faults.limit_jobs(2)
    began = time.monotonic()
    try:
        stage.submit({}, {}, {})
    except Full:
        return "full", time.monotonic() - began
    return "submitted", None


def excluded(stage: Stage) -> Played:
    jobs = stage.submit({}, token="here")
    here = jobs.until(ended)[0].host
    attempts, folder = Run(stage.oar.shared, jobs.executor, "there").prepare("there", {})
    ids = jobs.executor.submit(attempts, "there", folder, Overrides(exclude=(here,)))
    there = Jobs(jobs.executor, ids, attempts).until(ended)[0].host
    return "elsewhere" if there != here else "the same host", None


def server_down(stage: Stage) -> Played:
    """Jobs end meanwhile; their watchers tell the server 30 or 90 seconds after they could not."""
    jobs = stage.submit({"sleep": 10}, {"sleep": 10})
    jobs.start()
    stage.oar.faults.stop("almighty")
    time.sleep(30)
    assert all((attempt / "result.txt").exists() for attempt in jobs.attempts)
    stage.oar.faults.start("almighty")
    return jobs.noticed()


def submitted_while_down(stage: Stage) -> Played:
    stage.oar.faults.stop("almighty")
    jobs = stage.submit({})
    assert jobs.executor.find("job") == {"job": jobs.ids}
    stage.oar.faults.start("almighty")
    return jobs.noticed()


def database_pauses(stage: Stage) -> Played:
    jobs = stage.submit(LONG)
    jobs.start()
    hasty = OarExecutor(resources(), answer_s=2.0)
    stage.oar.faults.pause("postgres")
    began = time.monotonic()
    said = words(hasty.poll(jobs.ids)[jobs.ids[0]])
    after_s = time.monotonic() - began
    stage.oar.faults.cont("postgres")
    jobs.until(running)
    return f"{said}, then running", after_s


SITUATIONS: tuple[tuple[str, Callable[[Stage], Played], str], ...] = (
    ("it ends well", success, "killed: exit code 0"),  # the result file tells that it did not fail
    ("array of 16, its results in place", array, "killed: exit code 0"),
    ("exit code 1", exit_code, "killed: exit code 1"),
    ("ends with 0 and no result", silent_exit, "killed: exit code 0"),
    ("SIGKILL of the evaluation", sigkill, "killed: killed by signal 9"),
    ("oardel while it runs", delete_running, "cancelled: User orchestrator-test"),
    ("oardel while it waits", delete_waiting, "cancelled: User orchestrator-test"),
    ("wall-time, own deadline", own_deadline, "result walltime; killed: exit code 0"),
    ("wall-time, killed by OAR", walltime, "walltime: WALLTIME"),
    ("besteffort gives way", preemption, "preempted: BESTEFFORT_KILL"),
    ("oarhold", hold, "pending: `oarresume ID`"),
    ("host set Dead", host_dead, "host_fault: User root"),
    ("no host left for a waiting job", no_host_left, "pending: no hosts that are up"),
    ("prologue fails on a host", prologue, "killed: exit code 0"),
    ("oarexec crashes (wall-time 30 s)", oarexec, "host_fault: EXTERMINATE_JOB"),
    ("impossible request", impossible, "refused: There are not enough"),
    ("limit on jobs", too_many, "full"),
    ("host excluded", excluded, "elsewhere"),
    ("server down 30 s, jobs end", server_down, "killed: exit code 0"),
    ("submitted while the server is down", submitted_while_down, "killed: exit code 0"),
    ("database does not answer", database_pauses, "unknown, then running"),
)
