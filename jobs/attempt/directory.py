"""The directory of one attempt at a trial: its claim, its copies, its log, reserved space and its result.

Its files are those of `orchestrator.contract.attempt`. A job that is requeued begins again, perhaps while it
still runs on a host that was cut off: then there are several copies of it, and the result is the first one's.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.contract import Assignment, Result, publish, publish_once
from orchestrator.contract.attempt import CHECKPOINT, CLAIM, COPIES, LOG, RESULT
from orchestrator.contract.files import dumps

_RESERVE = ".reserve"
_RESERVED_BYTES = 16 * 1024  # a result is at most a few KiB


def job_id() -> str:
    """What tells this job from any other: the scheduler's id, or outside a scheduler that of this process."""
    environment = os.environ
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{environment.get('SLURM_ARRAY_TASK_ID', '0')}"
    for name in ("SLURM_JOB_ID", "OAR_JOB_ID", "SUBMITIT_LOCAL_JOB_ID"):
        if job := environment.get(name):
            return job
    return f"pid-{os.getpid()}"


def host() -> str:
    """Name of this host, the scheduler's if it has one."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def copy_name() -> str:
    """What tells this process from any other that runs the same attempt."""
    return f"{host()}-{os.getpid()}"


def checkpoint(assignment: Assignment, directory: Path) -> Path:
    """The directory for the trial's saved state, which this attempt's copies and later attempts share."""
    return directory / CHECKPOINT if assignment.checkpoint is None else Path(assignment.checkpoint)


def claim(directory: Path) -> str | None:
    """Claim the attempt for this job, and enter this process among its copies.

    A job submitted twice must not run twice; the same job, requeued by its scheduler, goes on.

    Returns:
        None if the attempt is this job's to run, else why it is not.
    """
    if (directory / RESULT).exists():
        return f"{directory / RESULT} exists: nothing to do"
    path = directory / CLAIM
    copy = {"job": job_id(), "host": host(), "pid": os.getpid(), "started_at": time.time()}
    if not publish_once(path, dumps(copy)) and (holder := _holder(path)) != job_id():
        return f"{directory} is the work of job {holder}, and this is {job_id()}"
    restart = os.environ.get("SLURM_RESTART_COUNT", "")
    (directory / COPIES).mkdir(exist_ok=True)
    publish(
        directory / COPIES / f"{copy_name()}.json",
        dumps({**copy, "restart": int(restart) if restart.isdecimal() else 0}),
    )
    return None


def reserve(directory: Path) -> None:
    """Take the disk space that the result will need, so that a result can say that the disk is full.

    Raises:
        OSError: there is no space now.
    """
    with (directory / _RESERVE).open("wb") as file:
        file.write(os.urandom(_RESERVED_BYTES))  # random: a filesystem that compresses cannot cheat
        file.flush()
        os.fsync(file.fileno())


def publish_result(directory: Path, result: Result) -> bool:
    """Write the result and return True; if there is one already, log whose it is and return False.

    Raises:
        OSError: it could not be written.
    """
    (directory / _RESERVE).unlink(missing_ok=True)
    if publish_once(directory / RESULT, dumps(result.model_dump(mode="json", exclude_none=True))):
        return True
    first = json.loads((directory / RESULT).read_text(encoding="utf-8"))
    print(
        f"{copy_name()} is too late: the result is that of another copy of this job, "
        f"on {first.get('host')}, pid {first.get('pid')}; what this one found is dropped",
        flush=True,
    )
    return False


@contextmanager
def logged(directory: Path) -> Iterator[int]:
    """Point stdout and stderr, those of libraries and children too, at the attempt's log.

    Yields:
        A descriptor of the original stderr.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    log = os.open(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.reconfigure(line_buffering=True, errors="replace")
    try:
        yield kept[1]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in zip((1, 2), kept, strict=True):
            os.dup2(original, descriptor)
            os.close(original)


def peak_memory_bytes() -> int:
    """Most memory used so far: the GPU's if one was used, else this process's and its largest child's."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    kib = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kib * 1024


def _holder(path: Path) -> str:
    """The job that a claim names."""
    return str(json.loads(path.read_text(encoding="utf-8"))["job"])
