"""A program as several processes: one per GPU, on every host of the job.

Each gets RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT as torchrun sets them;
rank 0 writes the metrics. The output of rank N is in ranks/N.log of the attempt's directory. When a rank
fails, all others are ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from jobs.attempt.failure import (
    EvaluationFailed,
    failure_of,
)
from jobs.attempt.interruption import Interruption
from jobs.attempt.termination import end_children
from jobs.processes.hosts import Launcher, free_port, layout
from jobs.processes.process import MARK, PR_SET_CHILD_SUBREAPER
from orchestrator.contract import Failure, publish
from orchestrator.contract.files import dumps

_PROCESS = str(Path(__file__).with_name("process.py"))
FOLDER = "ranks"  # in the attempt's directory
_LATE_S = 3.0  # seconds after the ranks' own grace_s, for their reports to come
_SRUN = re.compile(r"srun: error: (?P<host>\S+): tasks? (?P<rank>\d+)[\d,-]*: (?P<how>.+)")
_NODE_FAILURE = re.compile(r"Node failure on (?P<host>\S+)")


@dataclass(frozen=True)
class End:
    """How a rank ended, as it or its launcher reported.

    Attributes:
        rank: the rank; None: all of them, or not known.
        host: where it ran.
        code: exit status, negative for a signal; None if there is only a text.
        how: that text.
        said: the last lines that the program wrote.
        failure: the class of the failure, if it is known.
    """

    rank: int | None
    host: str
    code: int | None = None
    how: str = ""
    said: str = ""
    failure: Failure | None = None


@dataclass
class _Story:
    """What launchers and ranks have reported so far."""

    failed: list[End] = field(default_factory=list)  # in the order of the reports
    reports: dict[int, End] = field(default_factory=dict)  # of ranks, by themselves

    def hear(self, line: str) -> None:
        """Take in a line that a launcher wrote."""
        if line.startswith(MARK):
            told = json.loads(line.removeprefix(MARK))
            unstarted, said = told.get("unstarted"), " | ".join(told.get("said", ()))
            end = End(told["rank"], told["host"], told["code"], said=said)
            if unstarted:
                end = End(told["rank"], told["host"], how=unstarted, failure=Failure.MISSING_INPUT)
            if told["code"] and not told.get("told"):
                self.reports[told["rank"]] = end
                self.failed.append(end)
            return
        print(line, file=sys.stderr, flush=True)
        if found := _SRUN.match(line):
            self.failed.append(End(int(found["rank"]), found["host"], how=found["how"]))
        elif found := _NODE_FAILURE.search(line):
            self.failed.append(End(None, found["host"], how="the host died", failure=Failure.HOST_FAULT))

    def first(self) -> End:
        """The first failure, by the report of the rank itself if there is one."""
        end = self.failed[0]
        # The launcher may be quicker to report that a rank failed; the rank's own report says more.
        return end if end.rank is None else self.reports.get(end.rank, end)


def run_all(
    call: Call, shape: tuple[int, int], directory: Path, interruption: Interruption, grace_s: float
) -> End | None:
    """Run `call` on all ranks.

    Args:
        call: what each runs.
        shape: hosts, and ranks on each.
        directory: of the attempt.
        interruption: looked for all the time.
        grace_s: seconds that a rank has from being told to end to being killed.

    Returns:
        How the first rank that failed ended; None if none did.

    Raises:
        EvaluationFailed: they could not be started.
        Interrupted: the end was announced; the ranks were told, and have ended.
    """
    hosts, per_host = shape
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    spec = folder / f"{call.copy}.json"
    plan = layout(hosts, per_host, [sys.executable, "-P", _PROCESS, str(spec)])
    variables = {
        "WORLD_SIZE": str(hosts * per_host),
        "LOCAL_WORLD_SIZE": str(per_host),
        "MASTER_ADDR": plan.address,
        "MASTER_PORT": str(free_port()),
    }
    content = {
        "argv": call.argv,
        "directory": str(directory),
        "environment": {**plan.remote, **call.variables, **variables},
        "folder": str(folder),
        "grace_s": grace_s,
    }
    publish(spec, dumps(content))
    print(f"on {variables['WORLD_SIZE']} ranks: {' '.join(call.argv)}", flush=True)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with interruption.savable():
        return _watched(plan.launchers, grace_s, interruption)


def _watched(launchers: tuple[Launcher, ...], grace_s: float, interruption: Interruption) -> End | None:
    """Start all launchers and wait for their end; parameters, result and errors are as those of `run_all`."""
    events: queue.Queue[tuple[int, str | None]] = queue.Queue()
    processes: list[subprocess.Popen[str]] = []
    story, open_ = _Story(), set[int]()
    try:
        for number, launcher in enumerate(launchers):
            processes.append(_started(launcher))
            open_.add(number)
            threading.Thread(target=_read, args=(number, processes[-1], events), daemon=True).start()
        try:
            while open_ and not story.failed:
                interruption.check()
                _take(events, open_, processes, launchers, story)
        finally:
            if open_:  # one has failed, or all are to end: they are told to, and may still report
                _end(processes)
            deadline = time.monotonic() + grace_s + _LATE_S
            while open_ and time.monotonic() < deadline:
                _take(events, open_, processes, launchers, story)
        return story.first() if story.failed else None
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):  # SIGTERM makes srun kill its step
            _signal(processes, number)
        end_children(0.0)  # orphans of a `process.py` that was killed


def _take(
    events: queue.Queue[tuple[int, str | None]],
    open_: set[int],
    processes: list[subprocess.Popen[str]],
    launchers: tuple[Launcher, ...],
    story: _Story,
) -> None:
    """Take in the next line or end of a launcher, if it comes within 0.2 s."""
    with suppress(queue.Empty):
        number, line = events.get(timeout=0.2)
        if line is not None:
            story.hear(line)
            return
        open_.discard(number)
        code = processes[number].wait()
        if code and not story.failed:
            story.failed.append(_silent_end(launchers[number], code))


def _silent_end(launcher: Launcher, code: int) -> End:
    """How a launcher failed before any rank reported a failure."""
    if launcher.argv[0] == "oarsh" and code == 255:
        how = "the connection to its host broke"
        return End(launcher.rank, launcher.host, how=how, failure=Failure.HOST_FAULT)
    failure = Failure.KILLED if launcher.rank is None else None  # srun: not the program, nor the host
    return End(launcher.rank, launcher.host or "srun", code, failure=failure)


def _started(launcher: Launcher) -> subprocess.Popen[str]:
    """Start a launcher.

    Raises:
        EvaluationFailed: its program is not on PATH.
    """
    try:
        return subprocess.Popen(
            launcher.argv,
            env=launcher.environment if launcher.environment is None else dict(launcher.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise EvaluationFailed(
            Failure.MISSING_INPUT,
            f"{launcher.argv[0]} is not on this host's PATH: ranks on other hosts start with it",
        ) from error


def _read(number: int, process: subprocess.Popen[str], events: queue.Queue[tuple[int, str | None]]) -> None:
    """Put every line that launcher `number` writes into `events`, and None at its end."""
    assert process.stdout is not None
    for line in process.stdout:
        events.put((number, line.rstrip("\n")))
    events.put((number, None))


def _end(processes: list[subprocess.Popen[str]]) -> None:
    """Tell every rank to end, by closing its stdin."""
    for process in processes:
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()


def _signal(processes: list[subprocess.Popen[str]], number: signal.Signals) -> None:
    """Send a signal to the process groups of the launchers that still run, and wait for a moment."""
    alive = [process for process in processes if process.poll() is None]
    for process in alive:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    for process in alive:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_LATE_S)


def why(what: str, end: End) -> EvaluationFailed:
    """The error for `what`, which ran as several processes, one of which ended as `end` says."""
    who = "its launcher" if end.rank is None else f"rank {end.rank}"
    text = f"{what}: {who} on {end.host} "
    said = end.said or "nothing"
    if end.code is None:
        failure = end.failure or (Failure.KILLED if "Killed" in end.how else Failure.PROGRAM_ERROR)
        return EvaluationFailed(failure, f"{text}ended: {end.how}. Its last words: {said}")
    text += f"was killed by signal {-end.code}" if end.code < 0 else f"exited with {end.code}"
    failure = Failure.KILLED if end.code == -signal.SIGKILL else failure_of(said)
    return EvaluationFailed(end.failure or failure, f"{text}. Its last words: {said}")


@dataclass(frozen=True)
class Call:
    """A command to run, as one process or several.

    Attributes:
        copy: name of the process that runs it (`jobs.attempt.directory.copy_name`).
        argv: program and arguments.
        variables: what is added to the environment.
        output: where it writes its metrics.
    """

    copy: str
    argv: list[str]
    variables: dict[str, str]
    output: Path
