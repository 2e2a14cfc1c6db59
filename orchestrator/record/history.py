"""What a ledger says, folded fact by fact into the state of a study.

The master folds each fact it writes, and a reader those it finds: both see the same. `facts` says what they
mean.

Whatever is evaluated has been told to the algorithm before it is asked again. So the last state that an
`Asked` follows holds every evaluation before it, and `untold` is what a master has to tell, or still to see.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.contract import Failure, Result
from orchestrator.contract.assignment import Configuration
from orchestrator.contract.objective import Budget
from orchestrator.errors import LedgerCorrupt
from orchestrator.record import facts
from orchestrator.record.facts import Entry
from orchestrator.record.ledger import Line
from orchestrator.space import Point


class End(StrEnum):
    """How an attempt ended that did not fail."""

    EVALUATED = "evaluated"  # its trial has its outcome from it, be that a failure
    SUPERSEDED = "superseded"  # … from another attempt, that had been given up
    WITHDRAWN = "withdrawn"  # its job was taken back before it started, or never was


@dataclass
class Attempt:
    """The n-th submission of a trial."""

    number: int
    token: str
    submitted_at: float
    walltime_min: float | None = None  # None: that of the profile
    trials_per_job: int = 1  # attempts that share its job, at most
    job: str | None = None  # None: the scheduler has not answered yet
    ended: End | Failure | None = None  # how; None: it is under way
    host: str = ""  # as the scheduler calls it; known when the attempt has ended
    started_at: float | None = None  # … of which the job itself has to tell
    ended_at: float | None = None
    trained: float = 0.0  # share of the training that its checkpoint held at its end

    @property
    def job_key(self) -> tuple[str, object]:
        """The same for the attempts of one job, and for no others: a scheduler's ids return."""
        return self.token, id(self) if self.job is None else self.job


@dataclass
class Trial:
    """A numbered suggestion, and all that became of it.

    `suggestion` is the algorithm's id of it; None for the untouched base model.
    `same_as` is the earlier trial with the same configuration whose score it takes.
    """

    number: int
    ask: int  # number of the record `asked` that it came with: 0, 1, 2, …
    suggestion: int | None
    point: Point | None
    configuration: Configuration
    note: dict[str, Any]
    same_as: int | None
    asked_at: float
    attempts: list[Attempt] = field(default_factory=list)
    evaluation: Result | None = None
    evaluated_at: float | None = None

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that is under way."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].ended is None else None


@dataclass
class History:
    """The state of a study."""

    _created: facts.Created | None = None
    trials: list[Trial] = field(default_factory=list)  # by number
    state: dict[str, Any] | None = None  # of the algorithm, after the last ask
    untold: list[int] = field(default_factory=list)  # trials whose outcome is not in that state, by number …
    told: set[int] = field(
        default_factory=set, compare=False
    )  # … and of these, what its algorithm was told since
    enqueued: list[Configuration] = field(default_factory=list)  # … and requests that are not
    requests: dict[str, Configuration] = field(default_factory=dict)  # by name, those that were taken up
    evaluations: list[int] = field(default_factory=list)  # trials in the order of their evaluation
    accepted: set[int] = field(default_factory=set)  # trials whose failures are their configurations' own
    wave: int = 0  # trials that were open together after the last ask
    asks: int = 0
    submissions: dict[str, list[tuple[int, int]]] = field(
        default_factory=dict
    )  # unanswered: token -> attempts
    submission_count: int = 0
    notes: list[str] = field(default_factory=list)
    ended: facts.Ended | None = None
    _budget: Budget | None = None  # None: as at launch
    _state: dict[str, Any] | None = None  # of an ask that is not recorded yet

    @classmethod
    def replay(cls, lines: Iterable[Line]) -> History:
        """Return what the lines of a ledger come to.

        Raises:
            LedgerCorrupt: there is none, or one cannot stand where it does.
        """
        history = cls()
        for line in lines:
            history.fold(Entry.of(line))
        if history._created is None:
            raise LedgerCorrupt("the ledger is empty: it was cut by another hand; restore it from a copy")
        return history

    def fold(self, entry: Entry) -> None:
        """Take in one fact.

        Raises:
            LedgerCorrupt: no such fact can stand here.
        """
        try:
            self._fold(entry.fact, entry.at)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise facts.misplaced(entry.seq, entry.fact.kind, error) from error

    @property
    def created(self) -> facts.Created:
        """What the study is: the ledger's first fact."""
        assert self._created is not None, "a history is asked once its ledger has begun"
        return self._created

    @property
    def to_tell(self) -> list[Trial]:
        """Trials of the search whose outcome is known and has not been told to the algorithm, by number."""
        new = (self.trials[number] for number in self.untold if number not in self.told)
        return [t for t in new if t.suggestion is not None and self.evaluation(t) is not None]

    @property
    def budget(self) -> Budget:
        """What the study may spend, as it was extended last."""
        return self._budget or self.created.budget

    def source(self, trial: Trial) -> Trial:
        """The trial whose evaluation stands for this one's: itself, unless it shares."""
        return trial if trial.same_as is None else self.trials[trial.same_as]

    def evaluation(self, trial: Trial) -> Result | None:
        """The outcome that stands for this trial's; None if there is none yet."""
        return self.source(trial).evaluation

    @property
    def token_prefix(self) -> str:
        """What the tokens of this run's submissions, and of no other, start with."""
        return f"{self.created.token}-"

    @property
    def open_trials(self) -> list[Trial]:
        """Trials that still want an evaluation of their own."""
        return [t for n in self.untold if (t := self.trials[n]).same_as is None and t.evaluation is None]

    @property
    def jobs_under_way(self) -> int:
        """Jobs of which an attempt has not ended."""
        return len({a.job_key for trial in self.open_trials if (a := trial.attempt) is not None})

    @property
    def spent(self) -> list[Trial]:
        """Trials that count against the budget: the base model and shared scores are free."""
        return [t for t in self.trials if t.same_as is None and t.suggestion is not None]

    def _fold(self, fact: facts.Fact, at: float) -> None:  # noqa: C901, PLR0912 - a line or two for each kind
        match fact:
            case facts.Created():
                self._created = fact
            case facts.AskedState():
                self._state = fact.state
            case facts.Asked():
                self._fold_asked(fact, at)
            case facts.Submitting():
                self._fold_submitting(fact, at)
            case facts.Submitted():
                for (trial, number), job in zip(self.submissions.pop(fact.token), fact.jobs, strict=True):
                    attempt = self._attempt(trial, number)
                    attempt.job = job
                    if job is None:
                        attempt.ended = End.WITHDRAWN
            case facts.Refused():
                for trial, _ in self.submissions.pop(fact.token):
                    self.trials[trial].attempts.pop()
            case facts.Withdrawn():
                self._attempt(fact.trial, fact.attempt).ended = End.WITHDRAWN
            case facts.Failed():
                attempt = self._attempt(fact.trial, fact.attempt)
                attempt.ended, attempt.ended_at, attempt.host = fact.failure, at, fact.host
                attempt.started_at, attempt.trained = fact.started_at, fact.trained
            case facts.Evaluated():
                self._fold_evaluated(fact, at)
            case facts.Accepted():
                self.accepted.update(fact.trials)
            case facts.Reopened():
                self.ended = None
                for number in fact.trials:
                    self.trials[number].evaluation = self.trials[number].evaluated_at = None
                    self.evaluations.remove(number)
            case facts.Extended():
                self._budget = fact.budget
            case facts.Ended():
                self.ended = fact
            case facts.Enqueued():
                self.enqueued.append(fact.configuration)
                self.requests[fact.request] = fact.configuration
            case facts.Noted():
                self.notes.append(fact.text)

    def _attempt(self, trial: int, number: int) -> Attempt:
        return self.trials[trial].attempts[number - 1]

    def _fold_asked(self, asked: facts.Asked, at: float) -> None:
        self.state = self._state
        self.enqueued = []
        self.told.clear()
        self.untold = [n for n in self.untold if self.evaluation(self.trials[n]) is None]
        for new in asked.trials:
            self.untold.append(len(self.trials))
            self.trials.append(
                Trial(
                    number=len(self.trials),
                    ask=self.asks,
                    suggestion=new.suggestion,
                    point=new.point,
                    configuration=new.configuration,
                    note=new.note,
                    same_as=new.same_as,
                    asked_at=at,
                )
            )
        self.asks += 1
        self.wave = len(self.open_trials)

    def _fold_submitting(self, submitting: facts.Submitting, at: float) -> None:
        self.submission_count += 1
        self.submissions[submitting.token] = list(submitting.attempts)
        for trial, number in submitting.attempts:
            new = Attempt(number, submitting.token, at, submitting.walltime_min, submitting.trials_per_job)
            self.trials[trial].attempts.append(new)

    def _fold_evaluated(self, evaluated: facts.Evaluated, at: float) -> None:
        trial, evaluation = self.trials[evaluated.trial], evaluated.evaluation
        trial.evaluation, trial.evaluated_at = evaluation, at
        self.evaluations.append(trial.number)
        for attempt in trial.attempts:
            if attempt.number == evaluated.attempt:  # even if it was given up as lost
                attempt.ended, attempt.ended_at = End.EVALUATED, evaluation.ended_at or at
                attempt.host = evaluated.host or evaluation.host
                attempt.started_at = evaluation.started_at
            elif attempt.ended is None:
                attempt.ended, attempt.ended_at = End.SUPERSEDED, at
