"""One call of a scheduler's command, within a time."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from orchestrator.errors import InputError, SchedulerError


class NoAnswer(SchedulerError):
    """The command did not end in time and was killed: whether it had its effect is not known."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended: its exit code, minus the signal's number if one killed it, and what it wrote."""

    code: int
    out: str
    err: str

    def error(self, program: str) -> str:
        """One text of its failure."""
        said = self.err.strip() or self.out.strip() or "no word"
        return f"{program} failed (exit code {self.code}): {said}"


def run(argv: Sequence[str], timeout_s: float, environment: Mapping[str, str]) -> Ended:
    """Run a command to its end.

    Raises:
        InputError: there is no such command on PATH.
        NoAnswer: it did not end within `timeout_s`.
        SchedulerError: it could not be started.
    """
    # Files, not pipes: a command that outlives this process would be ended by the first word it says, and
    # oarsub then deletes the job that it has just submitted.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(argv, environment, out, err)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            _kill(process)
            raise NoAnswer(f"{argv[0]} gave no answer within {timeout_s:g} s") from error
        return Ended(code, text(out), text(err))


def start(
    argv: Sequence[str], environment: Mapping[str, str], out: IO[bytes], err: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a command that writes to these files.

    Raises:
        InputError: there is no such command on PATH.
        SchedulerError: it could not be started.
    """
    try:
        return subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            # Ctrl-C in the master's terminal must not end a submission half way.
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise InputError(
            f"{argv[0]} is not on PATH: run this on a host where jobs can be submitted"
        ) from error
    except OSError as error:
        raise SchedulerError(f"{argv[0]} could not be started: {error}") from error


def answer(argv: Sequence[str], timeout_s: float, environment: Mapping[str, str]) -> str:
    """What a command writes to stdout.

    Raises:
        InputError: there is no such command on PATH.
        NoAnswer: it did not end within `timeout_s`.
        SchedulerError: it failed; the text holds what it said.
    """
    ended = run(argv, timeout_s, environment)
    if ended.code != 0:
        raise SchedulerError(ended.error(argv[0]))
    return ended.out


def _kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, without waiting for what may not be killed: OAR's commands run as its own user."""
    with suppress(PermissionError, subprocess.TimeoutExpired):
        process.kill()
        process.wait(1)


def text(file: IO[bytes]) -> str:
    """What a file that a command writes to holds now; the position, which they share, stays where it is."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")
