"""Jobs as processes of this host, named so that a later master can tell them from others: "PID-TICK".

Everything a job starts inherits its name in the variable `ORCHESTRATOR_JOB`, in whatever session it runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

JOB = "ORCHESTRATOR_JOB"
_STATE, _START_TICK = 0, 19  # fields of /proc/PID/stat after the program's name


def identity(pid: int) -> str | None:
    """Name of a process: its id and the clock tick since boot at which it started; None if it is gone.

    Ticks, not the time of day: that moves when the clock is set.
    """
    fields = _stat(pid)
    return None if fields is None else f"{pid}-{fields[_START_TICK]}"


def age_s(job: str) -> float | None:
    """Seconds since the job's first process started; None if that is gone."""
    pid, _, tick = job.partition("-")
    if not (pid.isdecimal() and tick.isdecimal()) or identity(int(pid)) != job:
        return None
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - int(tick) / os.sysconf("SC_CLK_TCK"))


def leaders(variable: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Name and environment of the first process of every living job that has `variable` set."""
    for process, environment in _environments():
        job = identity(process.pid)
        # The first process is a shell before it is submitit's controller: it has no name at first.
        if job and variable in environment and environment.get(JOB, job) == job and _leads(process.pid):
            yield job, environment


def terminate(job: str) -> None:
    """SIGTERM, once, to every process of the job.

    Not to the first one if there are others: submitit's controller would hand the signal on to a program that
    has it already, and it ends by itself when the program does.
    """
    members = _members(job)
    others = [member for member in members if identity(member.pid) != job]
    for member in others or members:
        with suppress(psutil.NoSuchProcess):
            member.terminate()


def kill(job: str) -> None:
    """SIGKILL to what is left of the job."""
    for member in _members(job):
        with suppress(psutil.NoSuchProcess):
            member.kill()


def _members(job: str) -> list[psutil.Process]:
    return [
        process
        for process, environment in _environments()
        if environment.get(JOB) == job or identity(process.pid) == job
    ]


def _environments() -> Iterator[tuple[psutil.Process, Mapping[str, str]]]:
    """Living processes whose environment this user may read."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            yield process, process.environ()


def _leads(pid: int) -> bool:
    with suppress(OSError):
        return os.getsid(pid) == pid
    return False


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat after the program's name; None if the process is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[_STATE] in "ZX" else fields
