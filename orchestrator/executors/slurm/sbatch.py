"""One call of sbatch, and what its failure says of jobs that may exist."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from orchestrator.errors import Full, SchedulerError
from orchestrator.executors.command import NoAnswer, start, text
from orchestrator.executors.slurm.reasons import refusal

_LOOK_S = 0.1
_PAUSE_S = 1.0  # sbatch's own before its first retry
_RETRYING = re.compile(r"(.*)(sleeping and retrying|, retrying)")


def sbatch(script: Path, timeout_s: float, environment: Mapping[str, str]) -> str:
    """Submit a script; return the job's id.

    Where the controller takes no more jobs, sbatch would ask again for two minutes. It is ended in its pause
    before the first retry: no request of it is under way then.

    Raises:
        InputError: there is no sbatch on PATH.
        Full, Refused: it said no; no job exists.
        SchedulerError: it failed otherwise, or did not end within `timeout_s`: a job may exist.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(["sbatch", "--parsable", str(script)], environment, out, err)
        _wait(process, err, timeout_s)
        said, errors = text(out).strip(), text(err).strip()
    if process.returncode < 0:
        raise SchedulerError(f"sbatch was killed by signal {-process.returncode}: a job may exist")
    if process.returncode > 0:
        kind = refusal(errors or said or "no word")
        raise type(kind)(f"sbatch failed (exit code {process.returncode}): {kind}")
    job = re.match(r"(\d+)(;|\s|$)", said)
    if job is None:
        raise SchedulerError(f"sbatch did not tell the job's id: {said!r}")
    return job[1]


def _wait(process: subprocess.Popen[bytes], err: IO[bytes], timeout_s: float) -> None:
    retrying = None
    silent_at = began = time.monotonic()
    while retrying is None and (now := time.monotonic()) - began < timeout_s:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_S)
            return
        if (retrying := _RETRYING.search(text(err))) is None:
            silent_at = now
    process.kill()
    process.wait()
    # It said so after `silent_at`: until a second is over it has not asked again.
    if retrying and time.monotonic() - silent_at < _PAUSE_S:
        raise Full(f"sbatch was told to wait: {retrying[1].removeprefix('sbatch: error: ').rstrip(', ')}")
    raise NoAnswer(f"sbatch gave no answer within {timeout_s:g} s")
