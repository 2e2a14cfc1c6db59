"""Several trials in one job: each is evaluated by a process of its own, on its share of the host.

If one of these processes dies, the others go on. What it left running is killed, and its attempt gets a
result that says how it died. If the whole job was told to end, no such result is written: the scheduler or
the master decides what follows, as for a job with one trial.

Run as `python -m jobs.pack SLOTS ATTEMPT_DIR …`, or submit `run` with the same arguments.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from jobs.attempt import directory as attempt
from jobs.attempt.failure import one_line
from jobs.attempt.termination import end_children
from jobs.processes.process import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG
from orchestrator.contract import Assignment, Failure, Outcome, Result
from orchestrator.contract.attempt import CLAIM, LOG, RESULT, TRIAL, tail

_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_MARK = "ORCHESTRATOR_PLACE"  # in the environment of all that a trial starts: its attempt's directory
_ENDING = (signal.SIGTERM, signal.SIGINT)
_WARNING = (signal.SIGUSR1, signal.SIGUSR2)
_LOOK_S = 0.1
_LATE_S = 1.0  # a signal to the whole job may reach a trial before it is seen here


@dataclass
class _Member:
    """A trial of the pack.

    Attributes:
        directory: of its attempt.
        process: the one that evaluates it.
        dead_since: when its process was first seen to have ended, in seconds of the monotonic clock.
        settled: True once its process has ended and nothing is left to be written about that.
    """

    directory: Path
    process: subprocess.Popen[bytes]
    dead_since: float | None = None
    settled: bool = False


def run(slots: str, *attempts: str) -> None:
    """Evaluate the attempts in parallel, each on its share of this host.

    Args:
        slots: the number of equal shares that the host is divided into.
        *attempts: the directories of the attempts, no more than there are shares.

    Raises:
        SystemExit: the job was told to end, and all its trials have ended.
    """
    told: list[int] = []
    for number in (*_ENDING, *_WARNING):
        signal.signal(number, lambda number, _: told.append(number))
    # Processes that a trial leaves running become children of this one, which ends them.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        members = [
            _Member(directory, _started(directory, slot, int(slots)))
            for slot, directory in enumerate(Path(one).resolve() for one in attempts)
        ]
        passed_on = 0
        while not all(member.settled for member in members):
            while passed_on < len(told):
                for member in members:
                    member.process.send_signal(told[passed_on])  # does nothing if it has ended
                passed_on += 1
            for member in members:
                _look(member, told)
            time.sleep(_LOOK_S)
    finally:
        end_children()
    if any(number in _ENDING for number in told):
        raise SystemExit(128 + signal.SIGTERM)


def share(environment: Mapping[str, str], slot: int, gpus: int) -> dict[str, str]:
    """The environment variables that show a trial its GPUs only: a slice of each list that the job was given.

    If it was given none, GPUs are counted from 0.

    Args:
        environment: of the job.
        slot: the number of the trial in its pack, from 0.
        gpus: the number of GPUs of each trial.
    """
    mine = slice(slot * gpus, (slot + 1) * gpus)
    given = {name: environment[name] for name in _VISIBLE if name in environment}
    if not given:
        given = {_VISIBLE[0]: ",".join(map(str, range(mine.stop)))}
    devices = {name: [one.strip() for one in text.split(",") if one.strip()] for name, text in given.items()}
    return {name: ",".join(all_of_them[mine]) for name, all_of_them in devices.items()}


def _started(directory: Path, slot: int, slots: int) -> subprocess.Popen[bytes]:
    """Start the evaluation of an attempt on its share of the host's cores and GPUs."""
    gpus = assignment.gpus if (assignment := _assignment(directory)) is not None else 0
    environment = {**os.environ, **share(os.environ, slot, gpus), _MARK: str(directory)}
    cores = sorted(os.sched_getaffinity(0))
    count = len(cores) // slots
    environment.setdefault("OMP_NUM_THREADS", str(max(1, count)))
    prctl = ctypes.CDLL(None).prctl
    try:
        if count:  # the new process inherits this; with fewer cores than trials, all share all
            os.sched_setaffinity(0, cores[slot * count : (slot + 1) * count])
        return subprocess.Popen(
            # -P: a directory that happens to be called `jobs` here is not imported instead.
            [sys.executable, "-P", "-m", "jobs.evaluate", str(directory)],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            # Should this process be killed, the trials end as they do when the job is told to.
            preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509 - no threads
        )
    finally:
        os.sched_setaffinity(0, cores)


def _look(member: _Member, told: list[int]) -> None:
    """If the process of a trial has ended: end what it left running, and write a result if it wrote none."""
    if member.settled or member.process.poll() is None:
        return
    now = time.monotonic()
    if member.dead_since is None:
        member.dead_since = now
        _end_orphans(member)
    if not (member.directory / RESULT).exists():
        if now - member.dead_since < _LATE_S:
            return
        if not _is_announced(member.process.returncode, told):
            _tell(member)
    member.settled = True


def _is_announced(code: int, told: list[int]) -> bool:
    """True if the trial ended because the job was told to end, or warned that it will be."""
    warned = any(number in _WARNING for number in told)
    heeded = (128 + signal.SIGTERM, *(-number for number in _WARNING))
    return any(number in _ENDING for number in told) or (warned and code in heeded)


def _tell(member: _Member) -> None:
    """Write the result that the trial's process left unwritten, if the attempt is this job's."""
    directory, process = member.directory, member.process
    claim = _claim(directory)
    if claim is not None and claim.get("job") not in (attempt.job_id(), f"pid-{process.pid}"):
        return
    code = process.returncode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    message = f"the evaluation {how} and left no result"
    if said := tail(directory / LOG):
        message += f"; its log ends: {said}"
    print(f"orchestrator: {directory}: {message}", file=sys.stderr, flush=True)
    if (assignment := _assignment(directory)) is None:
        return
    result = Result(
        outcome=Outcome.FAILED,
        failure=Failure.KILLED,
        message=one_line(message),
        trial=assignment.trial,
        attempt=assignment.attempt,
        job=attempt.job_id(),
        host=attempt.host(),
        pid=process.pid,
        started_at=None if claim is None else claim.get("started_at"),
        ended_at=time.time(),
    )
    try:
        attempt.publish_result(directory, result)
    except OSError as error:  # a full disk: the master finds out when the job has ended
        print(f"orchestrator: {directory}: no result can be written: {error}", file=sys.stderr, flush=True)


def _end_orphans(member: _Member) -> None:
    """Kill the processes that a trial left running when its own process ended."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, OSError):
            if process.environ().get(_MARK) == str(member.directory):
                process.kill()


def _assignment(directory: Path) -> Assignment | None:
    """The attempt's assignment; None if it cannot be read, which the evaluation itself reports."""
    try:
        return Assignment.model_validate_json((directory / TRIAL).read_bytes())
    except (OSError, ValueError):
        return None


def _claim(directory: Path) -> dict[str, object] | None:
    """The content of the attempt's claim; None if there is none that can be read."""
    try:
        claim: dict[str, object] = json.loads((directory / CLAIM).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return claim


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python -m jobs.pack SLOTS ATTEMPT_DIR …")
    run(*sys.argv[1:])
