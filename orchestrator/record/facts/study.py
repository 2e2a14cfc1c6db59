"""What a ledger says of the study as a whole: its beginning, its end, and what people want of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from orchestrator.contract.assignment import Configuration, Promoted
from orchestrator.contract.objective import Budget, Objective
from orchestrator.record.facts.fact import Fact, Readers


@dataclass(frozen=True, slots=True, kw_only=True)
class Created(Fact):
    """What the study is, for readers that do not read its file; and the file, to go on from.

    Attributes:
        token: what the names of its jobs start with.
        trials_per_job: trials that share a job.
        hosts: of a job.
        gpus: of a host.
        path: the study file that it was launched from.
        text: what that file said.
        promoted: the trials of another study that it goes on with.
        inputs: digest of what was prepared for it; empty if nothing was.
    """

    kind = "created"
    study: str
    token: str
    seed: int
    algorithm: str
    objective: Objective
    budget: Budget
    scheduler: str
    max_jobs: int
    trials_per_job: int = 1
    hosts: int
    gpus: int
    version: str = ""
    python: str = ""
    path: str
    text: str
    promoted: tuple[Promoted, ...] = ()
    inputs: str = ""
    _keys: ClassVar[Mapping[str, str]] = {"trials_per_job": "pack"}
    _read: ClassVar[Readers] = {
        "objective": Objective.model_validate,
        "budget": Budget.model_validate,
        "promoted": lambda many: tuple(map(Promoted.model_validate, many)),
    }


class Why(StrEnum):
    """Why a study ended."""

    DONE = "done"  # the budget is spent, or there is nothing more to ask
    FAILED = "failed"  # a fault of the set-up, which a person has to mend
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended(Fact):
    """The study may spend more from now on: this is its whole budget, what is spent included."""

    kind = "extended"
    budget: Budget
    _read: ClassVar[Readers] = {"budget": Budget.model_validate}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Fact):
    """A person says that these trials failed of their configurations, not of the set-up."""

    kind = "accepted"
    trials: tuple[int, ...]
    _read: ClassVar[Readers] = {"trials": tuple}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopened(Fact):
    """A stopped study goes on, and these evaluated trials are tried again: what made them fail is mended."""

    kind = "reopened"
    trials: tuple[int, ...]
    _read: ClassVar[Readers] = {"trials": tuple}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Fact):
    """The study is over, or stopped."""

    kind = "ended"
    why: Why
    message: str
    _read: ClassVar[Readers] = {"why": Why}

    @property
    def is_done(self) -> bool:
        """True if nothing is left to do; a study that stopped or was cancelled can be resumed."""
        return self.why is Why.DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued(Fact):
    """A configuration that a person wants tried, from the request file of that name."""

    kind = "enqueued"
    request: str
    configuration: Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted(Fact):
    """What people are to be told once."""

    kind = "noted"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Fact):
    """A master of this version took up the study, as this process."""

    kind = "resumed"
    host: str = ""
    pid: int = 0
    version: str = ""
