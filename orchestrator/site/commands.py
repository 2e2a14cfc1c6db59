"""Asking a scheduler's commands about the cluster itself: partitions, limits, hosts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from orchestrator.executors.command import answer
from orchestrator.executors.oar import variables as oar
from orchestrator.executors.slurm import variables as slurm

_ANSWER_S = 20.0


def missing(commands: Sequence[str]) -> list[str]:
    """Those of `commands` that are not on PATH."""
    return [command for command in commands if shutil.which(command) is None]


def ask(*argv: str) -> str:
    """Run one of the scheduler's commands and return what it writes to stdout.

    Raises:
        InputError: there is no such command.
        SchedulerError: it failed, or gave no answer in 20 s.
    """
    return answer(argv, _ANSWER_S, oar.passed_on(slurm.passed_on(os.environ)))


def last_words(error: Exception) -> str:
    """The last line of a command's error message; the first ones are often about sockets and retries.

    A final line that advises to read the command's help ("Try …", written by getopt) is left out.
    """
    lines = str(error).strip().splitlines()
    telling = [line for line in lines if not line.startswith(("Try ", "sbatch: Try "))]
    return (telling or lines)[-1]
