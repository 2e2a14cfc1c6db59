"""What a ledger says, folded record by record into the state of a study.

The master folds each record it writes, and a reader those it finds: both see the same. The kinds of record:

created     what the study is: its text, profile, name of its jobs, versions
state       the algorithm after asking, with its random generator (written before what it asked for)
asked       what it asked for, at most `limit`: trials with point and configuration, and of which trial each
            shares the score
submitting  these attempts are about to be submitted under this token
submitted   … and these are their jobs; null: none exists, and none can ever start
refused     … or no job came of it, for the scheduler would not have them: as if it had not been
withdrawn   a job that waited was taken back before it started
failed      an attempt ended without an evaluation, and another one follows
evaluated   a trial's outcome, from that attempt; `copies`: the processes that were at it, if more than one
reopened    a stopped study goes on; these evaluated trials are tried again: what made them fail is mended
ended       the study is over, or stopped, and why
enqueued    a configuration that a person wants tried, from that request file
noted       what people are to be told once, by whichever master or tick comes first
resumed     a master took up the study

Whatever is evaluated has been told to the algorithm before it is asked again. So the last `state` that an
`asked` follows holds every evaluation before it, and `untold` is what a master has to tell, or still to see.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.contract.assignment import Configuration
from orchestrator.contract.result import Failure, Metric, Outcome, Result
from orchestrator.errors import LedgerCorrupt
from orchestrator.record.ledger import Record
from orchestrator.space.parameter import Point


@dataclass
class Attempt:
    """The n-th submission of a trial."""

    number: int
    token: str
    submitted_at: float
    walltime_min: float | None = None  # None: that of the profile
    pack: int = 1  # attempts that share its job, at most
    job: str | None = None  # None: the scheduler has not answered yet
    ended: str | None = None  # how: "evaluated", "superseded", "withdrawn", or a failure class
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
    `shares` is the earlier trial with the same configuration whose score it takes.
    """

    number: int
    ask: int  # number of the record `asked` that it came with: 0, 1, 2, …
    suggestion: int | None
    point: Point | None
    configuration: Configuration
    note: dict[str, Any]
    shares: int | None
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

    created: Record = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)  # by number
    state: dict[str, Any] | None = None  # of the algorithm, after the last ask
    untold: list[int] = field(default_factory=list)  # trials whose outcome is not in that state, by number
    enqueued: list[Configuration] = field(default_factory=list)  # … and requests that are not
    requests: dict[str, Configuration] = field(default_factory=dict)  # by name, those that were taken up
    evaluations: list[int] = field(default_factory=list)  # trials in the order of their evaluation
    wave: int = 0  # trials that were open together after the last ask
    asks: int = 0
    submissions: dict[str, list[tuple[int, int]]] = field(
        default_factory=dict
    )  # unanswered: token -> attempts
    submission_count: int = 0
    notes: list[str] = field(default_factory=list)
    ended: Record | None = None
    _state: dict[str, Any] | None = None  # of an ask that is not recorded yet

    @classmethod
    def replay(cls, records: Iterable[Record]) -> History:
        history = cls()
        for record in records:
            history.fold(record)
        if not history.created:
            raise LedgerCorrupt("the ledger is empty: it was cut by another hand; restore it from a copy")
        return history

    def fold(self, record: Record) -> None:
        """Take in one record.

        Raises:
            LedgerCorrupt: no such record can stand here.
        """
        try:
            getattr(self, f"_fold_{record['kind']}")(record)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise LedgerCorrupt(
                f"record {record['seq']} of the ledger ({record['kind']}) cannot stand there: {error!r}; "
                "it was changed by another hand, or written by a newer version"
            ) from error

    def source(self, trial: Trial) -> Trial:
        """The trial whose evaluation stands for this one's: itself, unless it shares."""
        return trial if trial.shares is None else self.trials[trial.shares]

    def evaluation(self, trial: Trial) -> Result | None:
        return self.source(trial).evaluation

    @property
    def token_prefix(self) -> str:
        """What the tokens of this run's submissions, and of no other, start with."""
        return f"{self.created['token']}-"

    @property
    def open_trials(self) -> list[Trial]:
        """Trials that still want an evaluation of their own."""
        return [t for n in self.untold if (t := self.trials[n]).shares is None and t.evaluation is None]

    @property
    def jobs_under_way(self) -> int:
        """Jobs of which an attempt has not ended."""
        return len({a.job_key for trial in self.open_trials if (a := trial.attempt) is not None})

    @property
    def spent(self) -> list[Trial]:
        """Trials that count against the budget: the base model and shared scores are free."""
        return [t for t in self.trials if t.shares is None and t.suggestion is not None]

    def _fold_created(self, record: Record) -> None:
        for needed in ("study", "token", "objective", "budget"):
            record[needed]  # a KeyError says what is missing
        self.created = record

    def _fold_state(self, record: Record) -> None:
        self._state = record["state"]

    def _fold_asked(self, record: Record) -> None:
        self.state = self._state
        self.enqueued = []
        self.untold = [n for n in self.untold if self.evaluation(self.trials[n]) is None]
        for asked in record["trials"]:
            self.untold.append(len(self.trials))
            self.trials.append(
                Trial(
                    number=len(self.trials),
                    ask=self.asks,
                    suggestion=asked["suggestion"],
                    point=None if asked["point"] is None else tuple(asked["point"]),
                    configuration=asked["configuration"],
                    note=asked["note"],
                    shares=asked["shares"],
                    asked_at=record["at"],
                )
            )
        self.asks += 1
        self.wave = len(self.open_trials)

    def _fold_submitting(self, record: Record) -> None:
        token = record["token"]
        self.submission_count += 1
        self.submissions[token] = [(trial, attempt) for trial, attempt in record["attempts"]]
        for trial, attempt in self.submissions[token]:
            new = Attempt(attempt, token, record["at"], record.get("walltime_min"), record.get("pack", 1))
            self.trials[trial].attempts.append(new)

    def _fold_submitted(self, record: Record) -> None:
        for (trial, number), job in zip(self.submissions.pop(record["token"]), record["jobs"], strict=True):
            attempt = self.trials[trial].attempts[number - 1]
            attempt.job = job
            if job is None:
                attempt.ended = "withdrawn"

    def _fold_refused(self, record: Record) -> None:
        for trial, _ in self.submissions.pop(record["token"]):
            self.trials[trial].attempts.pop()

    def _fold_withdrawn(self, record: Record) -> None:
        self.trials[record["trial"]].attempts[record["attempt"] - 1].ended = "withdrawn"

    def _fold_failed(self, record: Record) -> None:
        attempt = self.trials[record["trial"]].attempts[record["attempt"] - 1]
        attempt.ended, attempt.ended_at = record["failure"], record["at"]
        attempt.host = record.get("host", "")
        attempt.started_at = record.get("started_at")
        attempt.trained = record.get("trained", 0.0)

    def _fold_evaluated(self, record: Record) -> None:
        trial = self.trials[record["trial"]]
        trial.evaluation = _evaluation(record["evaluation"])
        trial.evaluated_at = record["at"]
        self.evaluations.append(trial.number)
        for attempt in trial.attempts:
            if attempt.number == record["attempt"]:  # even if it was given up as lost
                attempt.ended, attempt.ended_at = "evaluated", trial.evaluation.ended_at or record["at"]
                attempt.host = record.get("host", "") or trial.evaluation.host
                attempt.started_at = trial.evaluation.started_at
            elif attempt.ended is None:
                attempt.ended, attempt.ended_at = "superseded", record["at"]

    def _fold_reopened(self, record: Record) -> None:
        self.ended = None
        for number in record["trials"]:
            self.trials[number].evaluation = self.trials[number].evaluated_at = None
            self.evaluations.remove(number)

    def _fold_ended(self, record: Record) -> None:
        self.ended = record

    def _fold_enqueued(self, record: Record) -> None:
        self.enqueued.append(record["configuration"])
        self.requests[record["request"]] = record["configuration"]

    def _fold_noted(self, record: Record) -> None:
        self.notes.append(record["text"])

    def _fold_resumed(self, _: Record) -> None:
        pass  # for people


def _evaluation(content: dict[str, Any]) -> Result:
    """The evaluation in a record, which was validated when it was written: `status` reads 500 of them."""
    metrics = {name: Metric.model_construct(**value) for name, value in content.get("metrics", {}).items()}
    failure = None if content.get("failure") is None else Failure(content["failure"])
    outcome = Outcome(content["outcome"])
    return Result.model_construct(**content | {"metrics": metrics, "failure": failure, "outcome": outcome})
