"""One submission on disk, in the form submitit's runner reads: a pickle of a name and a path per attempt.

submitit gives a pickle its final name after the scheduler has told the job's id. A master killed in between
leaves jobs that wait a minute for their pickle and fail. Here pickles are named by index before the
submission, and the job's own script makes the name with its id.
"""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from submitit.core.utils import DelayedSubmission

from orchestrator.errors import InputError, Problem
from orchestrator.executors.base import FOLDER
from orchestrator.executors.call import call

# A job's name; accounting stores 255 characters, people read far fewer.
_TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check(token: str, folder: Path) -> None:
    """Refuse what schedulers or submitit would read as something else.

    Raises:
        InputError: says which character or path and what to do.
    """
    problems: list[str | Problem] = []
    if not _TOKEN.fullmatch(token):
        problems.append(f"token {token!r}: 1 to 128 characters of A-Z a-z 0-9 _ . - are allowed")
    if any(mark in str(folder) for mark in ("%", "\n", "\\")):
        what = "schedulers read % and \\ in a path as patterns; choose another run directory"
        problems.append(Problem(FOLDER, f"{folder}: {what}"))
    if not folder.is_absolute():
        problems.append(Problem(FOLDER, f"{folder}: the path must be absolute, jobs start elsewhere"))
    if problems:
        raise InputError(problems)


def job_count(attempts: Sequence[Path], trials_per_job: int) -> int:
    """Jobs for so many attempts, `trials_per_job` in each; the last one may have fewer."""
    return -(-len(attempts) // trials_per_job)


def of_attempts(jobs: Sequence[str], attempts: Sequence[object], trials_per_job: int) -> list[str]:
    """The job of each attempt."""
    return [jobs[index // trials_per_job] for index, _ in enumerate(attempts)]


def write_pickles(
    attempts: Sequence[Path], folder: Path, entry: str, walltime_min: float, trials_per_job: int = 1
) -> None:
    """Write `0.pkl`, `1.pkl`, … for the jobs of the attempts in turn."""
    for index in range(job_count(attempts, trials_per_job)):
        of_job = map(str, attempts[index * trials_per_job : (index + 1) * trials_per_job])
        delayed = DelayedSubmission(
            call, entry, *([] if trials_per_job == 1 else [str(trials_per_job)]), *of_job
        )
        delayed.set_timeout(math.ceil(walltime_min), 0)
        delayed.dump(folder / f"{index}.pkl")


def link_line(folder: Path, index: str, job: str) -> str:
    """Shell line that gives a job's pickle the name submitit's runner looks for.

    Args:
        folder: of the submission.
        index: shell expression for the job's index.
        job: shell expression for the job's id, as submitit's runner sees it.
    """
    return f'ln -sfn "{index}.pkl" {shlex.quote(str(folder))}/"{job}_submitted.pkl"'


def export_lines(environment: Mapping[str, str]) -> list[str]:
    """Shell lines that set these variables.

    Raises:
        InputError: a name is no shell variable's.
    """
    wrong = [name for name in environment if not _VARIABLE.fullmatch(name)]
    if wrong:
        raise InputError([Problem(("environment",), f"{name!r} is no name of a variable") for name in wrong])
    return [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]


def runner(folder: Path) -> str:
    """Command that runs a job's pickle with this interpreter.

    -P: a directory that happens to be called `jobs` where the master was started is not imported instead.
    """
    return shlex.join([sys.executable, "-P", "-u", "-m", "submitit.core._submit", str(folder)])
