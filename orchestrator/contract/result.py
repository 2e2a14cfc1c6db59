"""The words of a study: suggestion, observation, assignment, evaluation.

A suggestion is a point an algorithm wants scored; a trial is a numbered suggestion with its configuration; an
assignment is what one attempt at a trial reads on the compute node (`trial.json`); an evaluation is what it
writes (`result.json`). Scores are maximized; a failure is the absence of a score, never a number.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from orchestrator.contract.strict import Record


class Outcome(StrEnum):
    """How an evaluation ended."""

    OK = "ok"
    FAILED = "failed"


class Failure(StrEnum):
    """Why an evaluation has no score."""

    DIVERGED = "diverged"  # a non-finite loss, gradient, logit or score
    OUT_OF_MEMORY = "out_of_memory"
    WALLTIME = "walltime"  # ran out of the time its job was given
    KILLED = "killed"  # the job ended and left no result
    PREEMPTED = "preempted"  # the scheduler took the host away for another job
    HOST_FAULT = "host_fault"  # the host died, or a GPU of it is unusable
    CANCELLED = "cancelled"  # by a person, through the scheduler or `orchestrator cancel`
    LOST = "lost"  # the scheduler no longer knows the job, and there is no result
    MISSING_INPUT = "missing_input"  # a model, data or task file is not where it should be
    BAD_DATA = "bad_data"  # the file is there and its content is wrong
    DISK_FULL = "disk_full"
    BAD_RESULT = "bad_result"  # the program ended well and its result lacks a metric or is malformed
    PROGRAM_ERROR = "program_error"  # anything else that the evaluation raised

    @property
    def about_host(self) -> bool:
        """True if another attempt elsewhere may well succeed: nothing was learnt of the configuration."""
        return self in (Failure.KILLED, Failure.LOST, Failure.PREEMPTED, Failure.HOST_FAULT)

    @property
    def about_setup(self) -> bool:
        """True if every other trial will fail of it too, until a person mends something."""
        return self in (Failure.MISSING_INPUT, Failure.BAD_DATA, Failure.DISK_FULL)


class Metric(Record):
    """One measured value with its standard error and the number of documents behind it."""

    value: float
    stderr: Annotated[float, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=0)] | None = None


class Result(Record):
    """A trial's outcome: the content of `result.json`."""

    outcome: Outcome
    failure: Failure | None = None
    message: str = ""
    metrics: dict[str, Metric] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)  # stage -> seconds
    trial: int
    attempt: int
    job: str = ""  # the scheduler's id
    host: str = ""
    pid: int | None = None  # of the copy that wrote this: a requeued job may still run elsewhere
    device: str = ""
    trained: Annotated[float, Field(ge=0, le=1)] | None = None  # share of the training in the checkpoint
    peak_memory_bytes: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    started_at: float | None = None  # seconds since the epoch
    ended_at: float | None = None

    @model_validator(mode="after")
    def _failure_is_no_score(self) -> Result:
        if (self.outcome is Outcome.FAILED) != (self.failure is not None):
            raise ValueError("a failed evaluation names its failure class, any other has none")
        return self
