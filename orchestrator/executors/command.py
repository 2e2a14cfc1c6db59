"""One call of a scheduler's command, within a time."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from orchestrator.errors import InputError, SchedulerError


class NoAnswer(SchedulerError):
    """The command did not end in time and was killed: whether it had its effect is not known."""


def answer(argv: Sequence[str], timeout_s: float, environment: Mapping[str, str]) -> str:
    """What a command writes to stdout.

    Raises:
        InputError: there is no such command on PATH.
        NoAnswer: it did not end within `timeout_s`.
        SchedulerError: it failed; the text holds what it said.
    """
    try:
        ended = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            stdin=subprocess.DEVNULL,
            # Ctrl-C in the master's terminal must not end a submission half way.
            start_new_session=True,
            timeout=timeout_s,
        )
    except FileNotFoundError as error:
        raise InputError(
            f"{argv[0]} is not on PATH: run this on a host where jobs can be submitted"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise NoAnswer(f"{argv[0]} gave no answer within {timeout_s:g} s") from error
    except OSError as error:
        raise SchedulerError(f"{argv[0]} could not be started: {error}") from error
    if ended.returncode != 0:
        said = ended.stderr.strip() or ended.stdout.strip() or "no word"
        raise SchedulerError(f"{argv[0]} failed (exit code {ended.returncode}): {said}")
    return ended.stdout
