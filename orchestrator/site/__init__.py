"""Asking a scheduler's commands about the cluster itself: partitions, limits, hosts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from orchestrator.executors.command import answer

_ANSWER_S = 20.0
# What a user sets for his own convenience, and what a job that this runs in has set.
_THEIRS = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SINFO_", "SQUEUE_", "SACCT_", "SCONTROL_", "OAR_")
# … but not where it says whom to charge and where to go, as the executor lets it.
_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS", "SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS")


def missing(commands: Sequence[str]) -> list[str]:
    """Those of the commands that are not on PATH."""
    return [command for command in commands if shutil.which(command) is None]


def ask(*argv: str) -> str:
    """What one of the scheduler's commands writes to stdout.

    Raises:
        InputError: there is no such command.
        SchedulerError: it failed, or gave no answer in 20 s.
    """
    environment = {k: v for k, v in os.environ.items() if k in _KEPT or not k.startswith(_THEIRS)}
    return answer(argv, _ANSWER_S, environment)


def last_words(error: Exception) -> str:
    """The last line of what a command said; its first ones are often about sockets and retries.

    The advice to read its help, which getopt has commands end with, is passed over.
    """
    lines = str(error).strip().splitlines()
    telling = [line for line in lines if not line.startswith(("Try ", "sbatch: Try "))]
    return (telling or lines)[-1]
