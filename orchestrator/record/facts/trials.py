"""What a ledger says of trials: what was asked for, submitted, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from orchestrator.contract import Failure, Metric, Outcome, Result
from orchestrator.contract.assignment import Configuration
from orchestrator.record.facts.fact import Fact, Readers
from orchestrator.space import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedState(Fact):
    """The algorithm as it was after an ask: it counts once what it asked for is recorded."""

    kind = "state"
    state: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTrial(Fact):
    """A new trial, within `Asked`.

    Attributes:
        suggestion: the algorithm's number of it; None: the untouched base model.
        point: (d,) in the unit cube; None for the base model.
        note: what the algorithm tells people of it.
        same_as: the earlier trial whose score it takes, for it has the same configuration.
    """

    kind = "trial"
    suggestion: int | None
    point: Point | None
    configuration: Configuration
    note: dict[str, Any]
    same_as: int | None
    _keys: ClassVar[Mapping[str, str]] = {"same_as": "shares"}
    _read: ClassVar[Readers] = {"point": lambda point: None if point is None else tuple(point)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Fact):
    """What the algorithm asked for when it was offered `limit` evaluations; numbered in this order."""

    kind = "asked"
    limit: int | None = None
    trials: tuple[AskedTrial, ...]
    _read: ClassVar[Readers] = {"trials": lambda many: tuple(map(AskedTrial.parsed, many))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitting(Fact):
    """Attempts that are about to be submitted.

    Attributes:
        token: of the submission; no other ever has it.
        attempts: (trial, number of the attempt) each.
        walltime_min: of each job; None: that of the profile.
        exclude: hosts that they must not run on.
        trials_per_job: attempts that share a job.
    """

    kind = "submitting"
    token: str
    attempts: tuple[tuple[int, int], ...]
    walltime_min: float | None = None
    exclude: tuple[str, ...] = ()
    trials_per_job: int = 1
    _keys: ClassVar[Mapping[str, str]] = {"trials_per_job": "pack"}
    _read: ClassVar[Readers] = {
        "attempts": lambda many: tuple((trial, number) for trial, number in many),
        "exclude": tuple,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted(Fact):
    """The job of each attempt of a submission; None: there is none, and none can ever start."""

    kind = "submitted"
    token: str
    jobs: tuple[str | None, ...]
    _read: ClassVar[Readers] = {"jobs": tuple}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Fact):
    """The scheduler would not have a submission: no job of it exists."""

    kind = "refused"
    token: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(Fact):
    """A job that waited was taken back before it started; its trial waits for another attempt."""

    kind = "withdrawn"
    trial: int
    attempt: int
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Fact):
    """An attempt ended without an outcome for its trial: another one follows.

    Attributes:
        host: where it ran, as the scheduler calls it.
        started_at: seconds since the epoch; None: it never started, or nobody knows.
        trained: share of the training that its checkpoint holds.
    """

    kind = "failed"
    trial: int
    attempt: int
    host: str = ""
    failure: Failure
    message: str = ""
    started_at: float | None = None
    trained: float = 0.0
    _read: ClassVar[Readers] = {"failure": Failure}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated(Fact):
    """A trial's outcome.

    Attributes:
        attempt: that it comes from.
        host: where that ran, as the scheduler calls it.
        copies: the processes that were at the attempt, if more than one.
        evaluation: the outcome.
    """

    kind = "evaluated"
    trial: int
    attempt: int
    host: str = ""
    copies: tuple[dict[str, Any], ...] = ()
    evaluation: Result

    @property
    def content(self) -> dict[str, Any]:
        """Its fields as JSON values; copies only if there are several."""
        found = {"trial": self.trial, "attempt": self.attempt, "host": self.host}
        copies = {"copies": list(self.copies)} if self.copies else {}
        return {
            **found,
            **copies,
            "evaluation": self.evaluation.model_dump(mode="json", exclude_defaults=True),
        }

    @classmethod
    def parsed(cls, content: Mapping[str, Any]) -> Self:
        """As of every fact. The evaluation was validated when it was written: `status` reads 500 of them."""
        return cls(
            trial=content["trial"],
            attempt=content["attempt"],
            host=content.get("host", ""),
            copies=tuple(content.get("copies", ())),
            evaluation=_result(content["evaluation"]),
        )


def _result(content: dict[str, Any]) -> Result:
    """The result with this content, whose values are not validated again."""
    metrics = {name: Metric.model_construct(**value) for name, value in content.get("metrics", {}).items()}
    failure = None if content.get("failure") is None else Failure(content["failure"])
    outcome = Outcome(content["outcome"])
    return Result.model_construct(**content | {"metrics": metrics, "failure": failure, "outcome": outcome})
