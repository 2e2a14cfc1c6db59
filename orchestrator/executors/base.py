"""The contract of a place to run: submit, poll, cancel. It knows schedulers and never sees a score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.trial import Failure


class State(StrEnum):
    """What the scheduler says of a job; the result file, not this, says whether the evaluation is done."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"  # it will not run again
    LOST = "lost"  # the scheduler answered, and does not know the job
    UNKNOWN = "unknown"  # nobody answered, or the answer is provisional: wait


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as the scheduler sees it.

    Attributes:
        word: the scheduler's own state word, for people ("NODE_FAIL").
        reason: why it is pending or how it ended, in the scheduler's words.
        host: where it runs or ran.
        failure: the failure class the state implies if there is no result file.
        running_s: seconds it has run so far, where the scheduler says.
    """

    state: State
    word: str = ""
    reason: str = ""
    host: str = ""
    failure: Failure = Failure.KILLED
    running_s: float | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """What one evaluation asks of the scheduler."""

    hosts: int
    gpus: int  # per host
    walltime_min: float
    max_jobs: int  # at once
    setup: tuple[str, ...]  # shell lines run before the job's program
    environment: Mapping[str, str]
    options: Mapping[str, str | int | bool]  # the scheduler's own, verbatim


class Executor(ABC):
    """Submits attempts as jobs.

    One submission is a list of attempt directories, each holding `trial.json`, and a token that no other
    submission ever has. The token is written where the scheduler will show it again (the job's name), so that
    a submission whose answer was lost can be found.
    """

    @abstractmethod
    def submit(self, attempts: Sequence[Path], token: str, folder: Path) -> list[str]:
        """Submit a job for each attempt and return the jobs' ids in the same order.

        `folder` exists and is this submission's own, for scripts and logs of the scheduler. A second call
        with the same token and folder submits again: ask `find` before a retry.

        Raises:
            InputError: the token, the folder or the resources cannot be handed to this scheduler.
            SchedulerError: refused, or no answer; in the second case jobs may exist.
        """

    @abstractmethod
    def poll(self, jobs: Sequence[str]) -> dict[str, JobState]:
        """State of each job, from one scheduler call for all of them. Never raises: no answer is UNKNOWN."""

    @abstractmethod
    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel these jobs; those that ended already are none of its business.

        Raises:
            SchedulerError: refused, or no answer.
        """

    @abstractmethod
    def find(self, prefix: str) -> dict[str, list[str]]:
        """Jobs that are not ended whose token starts with `prefix`: token -> ids, in submission order.

        Some of a submission's jobs may be missing, because they ended already or were never started. Waits,
        at most a minute, for a submission that a killed master left in flight on this host.

        Raises:
            SchedulerError: no answer.
        """

    @abstractmethod
    def preview(self, attempts: Sequence[Path], token: str, folder: Path) -> str:
        """The very script or argv that `submit` would hand over, without submitting."""

    def log(self, job: str, folder: Path) -> Path:
        """The file in the submission's folder that takes the job's errors; there once the job has started."""
        return folder / f"{job}_0_log.err"
