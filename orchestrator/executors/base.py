"""The contract of a place to run: submit, poll, cancel. It knows schedulers and never sees a score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.contract import Failure

FOLDER = ("folder",)  # the keys of a problem of a submission's folder, whose place follows from the profile


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
        provisional: nothing is known for sure now, and within a minute or so it will be.
        remedy: for a job that waits for what never comes: what to do about it. "": it may well start.
        launch_failed: a host could not start it, and the scheduler holds it: it will not try another.
    """

    state: State
    word: str = ""
    reason: str = ""
    host: str = ""
    failure: Failure = Failure.KILLED
    running_s: float | None = None
    remedy: str = ""
    provisional: bool = False
    launch_failed: bool = False


@dataclass(frozen=True, slots=True)
class Overrides:
    """What one submission asks, and the next may not.

    Attributes:
        walltime_min: None: that of the resources.
        exclude: names of hosts that the jobs must not run on, as `JobState.host` gives them.
    """

    walltime_min: float | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resources:
    """What one job asks of the scheduler."""

    hosts: int
    gpus: int  # per host
    walltime_min: float
    max_jobs: int  # at once
    setup: tuple[str, ...]  # shell lines run before the job's program
    environment: Mapping[str, str]
    options: Mapping[str, str | int | bool]  # the scheduler's own, verbatim
    trials_per_job: int = 1  # attempts that share one job, each with an equal part of its host

    def walltime_with(self, overrides: Overrides) -> float:
        """Return the minutes that a job of a submission with these overrides may take."""
        return self.walltime_min if overrides.walltime_min is None else overrides.walltime_min


class Executor(ABC):
    """Submits attempts as jobs.

    One submission is a list of attempt directories, each holding `trial.json`, and a token that no other
    submission ever has. The token is written where the scheduler will show it again (the job's name), so that
    a submission whose answer was lost can be found.
    """

    @abstractmethod
    def submit(
        self, attempts: Sequence[Path], token: str, folder: Path, overrides: Overrides = Overrides()
    ) -> list[str]:
        """Submit a job for each attempt and return the jobs' ids in the same order.

        With `pack` in the resources, that many attempts in turn share a job, and its id comes once for each.

        `folder` exists and is this submission's own, for scripts and logs of the scheduler. A second call
        with the same token and folder submits again: ask `find` before a retry.

        Raises:
            InputError: the token, the folder or the resources cannot be handed to this scheduler.
            Full: refused for now, no job exists: fewer at once, or later, will be taken.
            Refused: refused, no job exists: a person has to mend something.
            SchedulerError: no answer: jobs may exist.
        """

    @abstractmethod
    def poll(self, jobs: Sequence[str]) -> dict[str, JobState]:
        """State of each job, from one scheduler call for all of them. Never raises: no answer is UNKNOWN."""

    @abstractmethod
    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel these jobs; those that ended already are none of its business. For none, nobody is asked.

        Raises:
            SchedulerError: refused, or no answer.
        """

    @abstractmethod
    def find(self, prefix: str) -> dict[str, list[str]]:
        """Jobs that are not ended whose token starts with `prefix`: token -> ids, in submission order.

        A job that attempts share is one.

        Some of a submission's jobs may be missing, because they ended already or were never started. Waits,
        at most a minute, for a submission that a killed master left in flight on this host.

        Raises:
            SchedulerError: no answer.
        """

    @abstractmethod
    def preview(
        self, attempts: Sequence[Path], token: str, folder: Path, overrides: Overrides = Overrides()
    ) -> str:
        """The very script or argv that `submit` would hand over, without submitting."""

    @abstractmethod
    def submit_command(
        self, argv: Sequence[str], token: str, folder: Path, *, walltime_min: float, after: str | None
    ) -> str:
        """Submit one job of one core and no GPU that runs `argv` once the job `after` is over; return its id.

        The master itself as a job: `token` and `folder` as for `submit`, the profile's own options apply
        except those about GPUs.

        Raises:
            InputError: this place has no such jobs.
            SchedulerError: as for `submit`.
        """

    def log(self, job: str, folder: Path) -> Path:
        """The file in the submission's folder that takes the job's errors; there once the job has started."""
        return folder / f"{job}_0_log.err"
