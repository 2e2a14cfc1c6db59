"""Asking a scheduler's commands about the cluster itself: partitions, limits, hosts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from orchestrator.executors.command import answer

_ANSWER_S = 20.0
# Prefixes of variables that change what these commands answer, and are therefore not passed on to them. They
# are set by users for their convenience, or by the job that this process runs in.
_THEIRS = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SINFO_", "SQUEUE_", "SACCT_", "SCONTROL_", "OAR_")
# Exceptions, which the executors pass on too: whom to charge, and which cluster and partition to use.
_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS", "SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS")


def missing(commands: Sequence[str]) -> list[str]:
    """Those of `commands` that are not on PATH."""
    return [command for command in commands if shutil.which(command) is None]


def ask(*argv: str) -> str:
    """Run one of the scheduler's commands and return what it writes to stdout.

    Raises:
        InputError: there is no such command.
        SchedulerError: it failed, or gave no answer in 20 s.
    """
    environment = {k: v for k, v in os.environ.items() if k in _KEPT or not k.startswith(_THEIRS)}
    return answer(argv, _ANSWER_S, environment)


def last_words(error: Exception) -> str:
    """The last line of a command's error message; the first ones are often about sockets and retries.

    A final line that advises to read the command's help ("Try …", written by getopt) is left out.
    """
    lines = str(error).strip().splitlines()
    telling = [line for line in lines if not line.startswith(("Try ", "sbatch: Try "))]
    return (telling or lines)[-1]
