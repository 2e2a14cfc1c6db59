"""Where the host-hours of a study went."""

from __future__ import annotations

from dataclasses import dataclass, fields

from orchestrator.contract import Result
from orchestrator.record import Attempt, History, Trial
from orchestrator.record.history import End

# Stages of an evaluation; a command or a function is trained and scored in one.
_TRAIN = ("train", "command", "function")
_SCORE = ("score", "validate")


@dataclass(frozen=True)
class Hours:
    """Host-hours of the attempts that have ended: the hours of their jobs times the hosts of each.

    Attributes:
        queue: from submission to start; no host was taken.
        train: training, that of an attempt too whose checkpoint the next one went on from.
        score: validation and scoring.
        other: of evaluations, the rest: start, imports, loading of model and data; and, where trials share a
            job, what lay idle of their host.
        lost: of attempts that left neither result nor checkpoint.
    """

    queue: float = 0.0
    train: float = 0.0
    score: float = 0.0
    other: float = 0.0
    lost: float = 0.0

    @property
    def taken(self) -> float:
        """All but the queue."""
        return self.train + self.score + self.other + self.lost

    def __add__(self, more: Hours) -> Hours:
        return Hours(*(getattr(self, f.name) + getattr(more, f.name) for f in fields(Hours)))

    def __mul__(self, factor: float) -> Hours:
        return Hours(*(getattr(self, f.name) * factor for f in fields(Hours)))

    def __str__(self) -> str:
        parts = (
            f"train {self.train:.2f}, score {self.score:.2f}, other {self.other:.2f}, lost {self.lost:.2f}"
        )
        return f"{self.taken:.2f} host-hours ({parts}); waited {self.queue:.2f} in the queue"


def hours(history: History) -> Hours:
    """Of a study so far."""
    seconds = Hours()
    for trial in history.trials:
        trained = 0.0
        for attempt in trial.attempts:
            if attempt.ended not in (None, End.WITHDRAWN):
                seconds += _seconds(trial, attempt, goes_on=attempt.trained > trained) * (
                    1 / attempt.trials_per_job
                )
                trained = max(trained, attempt.trained)
    seconds += Hours(other=_idle_s(history))
    return seconds * (history.created.hosts / 3600)


def _idle_s(history: History) -> float:
    """Seconds of whole hosts in jobs that are over, beside those of the trials that shared them."""
    jobs: dict[object, list[Attempt]] = {}
    for attempt in (a for trial in history.trials for a in trial.attempts if a.trials_per_job > 1):
        jobs.setdefault(attempt.job_key, []).append(attempt)
    idle = 0.0
    for attempts in jobs.values():
        ran = [(a.started_at, a.ended_at) for a in attempts if a.started_at and a.ended_at]
        if ran and all(attempt.ended for attempt in attempts):
            whole = max(end for _, end in ran) - min(start for start, _ in ran)
            idle += max(0.0, whole - sum(end - start for start, end in ran) / attempts[0].trials_per_job)
    return idle


def _seconds(trial: Trial, attempt: Attempt, *, goes_on: bool) -> Hours:
    """Seconds of one attempt that has ended. Where its start is not known, it never started."""
    ended_at = attempt.submitted_at if attempt.ended_at is None else attempt.ended_at
    evaluation = trial.evaluation
    if evaluation is not None and evaluation.attempt == attempt.number and evaluation.ended_at is not None:
        return Hours(queue=_waited(attempt, evaluation.ended_at)) + _stages(evaluation)
    started_at = ended_at if attempt.started_at is None else attempt.started_at
    ran = max(0.0, ended_at - started_at)
    waited = _waited(attempt, ended_at)
    return Hours(queue=waited, train=ran) if goes_on else Hours(queue=waited, lost=ran)


def _waited(attempt: Attempt, ended_at: float) -> float:
    started_at = ended_at if attempt.started_at is None else attempt.started_at
    return max(0.0, started_at - attempt.submitted_at)


def _stages(evaluation: Result) -> Hours:
    started_at, ended_at = evaluation.started_at, evaluation.ended_at
    ran = 0.0 if started_at is None or ended_at is None else max(0.0, ended_at - started_at)
    train = sum(evaluation.seconds.get(name, 0.0) for name in _TRAIN)
    score = sum(evaluation.seconds.get(name, 0.0) for name in _SCORE)
    return Hours(train=train, score=score, other=max(0.0, ran - train - score))
