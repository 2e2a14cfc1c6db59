"""Facts about a study, derived from its history alone: incumbent, counts, times, hours."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

from orchestrator.contract import Metric, Outcome, Result
from orchestrator.contract.assignment import Configuration
from orchestrator.record.directory import RunDirectory
from orchestrator.record.history import History, Trial
from orchestrator.record.ledger import read


@dataclass(frozen=True)
class Summary:
    """A view of a history; cheap, made anew for each look."""

    history: History

    @property
    def metric(self) -> str:
        """The name of the objective's metric."""
        return self.history.created.objective.metric

    @property
    def reported(self) -> list[str]:
        """The names of the metrics that are reported beside it."""
        return list(self.history.created.objective.metrics[1:])

    def objective(self, trial: Trial) -> Metric | None:
        """The trial's value of the objective, in the user's sign; None if it failed or is not there yet."""
        evaluation = self.history.evaluation(trial)
        if evaluation is None or evaluation.outcome is Outcome.FAILED:
            return None
        return evaluation.metrics[self.metric]

    def best(self, trials: list[Trial]) -> Trial | None:
        """The one with the best objective, the earliest of equals."""
        return next(iter(self.ranked(trials)), None)

    def ranked(self, trials: list[Trial]) -> list[Trial]:
        """Those with a value of the objective, the best first, the earlier first of equals."""
        sign = self.history.created.objective.sign
        scored = [(sign * value.value, t) for t in trials if (value := self.objective(t)) is not None]
        return [t for _, t in sorted(scored, key=lambda pair: (-pair[0], pair[1].number))]

    @property
    def incumbent(self) -> Trial | None:
        """The best trial of the search; the untouched base model is not one."""
        return self.best(self.history.spent)

    @property
    def base(self) -> Trial | None:
        """The trial of the untouched base model."""
        return next((t for t in self.history.trials if t.suggestion is None), None)

    @property
    def evaluated(self) -> int:
        """Evaluations of the budget that are done, the failed ones too."""
        return sum(t.evaluation is not None for t in self.history.spent)

    @property
    def failed(self) -> int:
        """Evaluations of the budget that gave no score."""
        done = (t.evaluation for t in self.history.spent)
        return sum(e is not None and e.outcome is Outcome.FAILED for e in done)

    @property
    def budget(self) -> int | None:
        """Evaluations asked for; None if only GPU-hours are."""
        return self.history.budget.evaluations

    @property
    def host_hours(self) -> float:
        """Host-hours that evaluations ran; attempts that left no result are not in it."""
        ran = [(e, _pack(t, e)) for t in self.history.trials if (e := t.evaluation) is not None]
        seconds = sum(duration_s(evaluation) / pack for evaluation, pack in ran)
        return seconds / 3600 * self.history.created.hosts

    @property
    def gpu_hours(self) -> float:
        """GPU-hours of the same."""
        return self.host_hours * self.history.created.gpus

    @property
    def spent_text(self) -> str:
        """`1.25 host-hours (5.00 GPU-hours)`."""
        gpus = f" ({self.gpu_hours:.2f} GPU-hours)" if self.gpu_hours else ""
        return f"{self.host_hours:.2f} host-hours{gpus}"

    @property
    def left_text(self) -> str:
        """`, about 5 min left`; empty when done, or as long as nothing is known."""
        left = self.seconds_left
        over = self.history.ended is not None or not left or self.evaluated == self.budget
        return "" if over or left is None else f", about {seconds_text(left)} left"

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the time to the end from the turn-around so far; None before the first result."""
        done = [t for t in self.history.spent if t.evaluated_at is not None and t.attempts]
        if not done or self.budget is None:
            return None
        typical = statistics.median((t.evaluated_at or 0.0) - t.attempts[-1].submitted_at for t in done)
        running = [t for t in self.history.open_trials if t.attempt is not None]
        ahead = self.budget - self.evaluated - len(running)
        slots = self.history.created.max_jobs * self.history.created.trials_per_job
        waves = math.ceil(max(0, ahead) / slots)
        starts = (a.submitted_at for t in running if (a := t.attempt) is not None)
        under_way = max((typical - (time.time() - start) for start in starts), default=0.0)
        return max(0.0, under_way) + waves * typical


def outcome(summary: Summary, trial: Trial) -> str:
    """One word for where a trial stands: ok, a failure class, submitted, waiting or shared."""
    evaluation = summary.history.evaluation(trial)
    if evaluation is not None:
        return str(evaluation.failure or ("shared" if trial.same_as is not None else evaluation.outcome))
    return "submitted" if trial.attempt else "waiting"


def _pack(trial: Trial, evaluation: Result) -> int:
    """How many shared the host with this evaluation, itself included."""
    return next((a.trials_per_job for a in trial.attempts if a.number == evaluation.attempt), 1)


def duration_s(evaluation: Result) -> float:
    """Seconds from start to end on the host; 0 where the job could not say."""
    if evaluation.started_at is None or evaluation.ended_at is None:
        return 0.0
    return evaluation.ended_at - evaluation.started_at


def value_text(metric: Metric | None) -> str:
    """`2.345 ± 0.012` with as many digits as the error deserves."""
    if metric is None:
        return "—"
    if not metric.stderr:
        return f"{metric.value:.5g}"
    digits = max(0, 1 - math.floor(math.log10(metric.stderr)))
    if digits > 8 or abs(metric.value) >= 1e9:
        return f"{metric.value:.5g} ± {metric.stderr:.2g}"
    return f"{metric.value:.{digits}f} ± {metric.stderr:.{digits}f}"


def seconds_text(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def number_text(value: object) -> str:
    """A value of a configuration, a number short enough for a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def configuration_text(trial: Trial) -> str:
    """`values_text` of a trial, or that it is the base model."""
    if trial.suggestion is None:
        return "base model, untouched"
    return values_text(trial.configuration)


def values_text(configuration: Configuration) -> str:
    """`learning_rate=0.003 lora_rank=8`."""
    return " ".join(f"{name}={number_text(value)}" for name, value in configuration.items())


def kept(history: History, count: int) -> list[Trial]:
    """The trials whose adapters stay: the `count` best, the earlier first of equals."""
    summary = Summary(history)
    return summary.ranked(history.spent)[:count]


def look(run: RunDirectory) -> Summary:
    """The study as its ledger says now; the algorithm's states are passed over."""
    return Summary(History.replay(read(run.ledger, states=False)))
