"""The words of a study: suggestion, observation, assignment, evaluation.

A suggestion is a point an algorithm wants scored; a trial is a numbered suggestion with its configuration; an
assignment is what one attempt at a trial reads on the compute node (`trial.json`); an evaluation is what it
writes (`result.json`). Scores are maximized; a failure is the absence of a score, never a number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Point = tuple[float, ...]
Value = bool | int | float | str
Configuration = dict[str, Value]
Finite = Annotated[float, Field(allow_inf_nan=False)]


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


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A point an algorithm wants scored.

    Attributes:
        id: the algorithm's own number for it: 0, 1, 2, … in the order of asking.
        point: (d,) in the unit cube.
        note: what a person may want to know of it (tree depth, why it was chosen); JSON values.
    """

    id: int
    point: Point
    note: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """What became of a suggestion.

    Attributes:
        id: the suggestion's id.
        score: to be maximized; None if the evaluation failed.
        stderr: standard error of the score, None if unknown.
    """

    id: int
    score: float | None
    stderr: float | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A score from elsewhere: an earlier study of the same space.

    Attributes:
        point: (d,) in the unit cube.
        score: to be maximized.
        stderr: standard error of the score, None if unknown.
    """

    point: Point
    score: float
    stderr: float | None = None


class Record(BaseModel):
    """Base of what is written as JSON: unknown keys and non-finite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Metric(Record):
    """One measured value with its standard error and the number of documents behind it."""

    value: float
    stderr: Annotated[float, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=0)] | None = None


class Promoted(Record):
    """A trial of a cheaper study that another one goes on with."""

    trial: int  # there
    configuration: Configuration
    seed: int
    adapter: str  # where it left what it had trained


class Assignment(Record):
    """What one attempt at a trial is to do: the content of `trial.json`.

    An empty configuration asks for the untouched base model.
    """

    study: str
    trial: int
    attempt: int
    configuration: Configuration
    seed: int
    evaluation: dict[str, Any]  # the `[evaluation]` section, validated, paths absolute
    metrics: tuple[str, ...]  # what the result must hold: the objective and the reported ones
    cache: str  # the shared cache that `prepare` filled
    walltime_min: float | None = None
    hosts: int = 1
    gpus: int = 0  # per host
    checkpoint: str | None = None  # directory that all attempts of the trial share; None: `checkpoint` here
    goes_on_from: str | None = None  # an adapter of another study that was trained less, with this seed


class Evaluation(Record):
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
    def _failure_is_no_score(self) -> Evaluation:
        if (self.outcome is Outcome.FAILED) != (self.failure is not None):
            raise ValueError("a failed evaluation names its failure class, any other has none")
        return self
