"""What an attempt's end means for its trial: another attempt, or the trial's outcome; recorded and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.attempts.retries import is_retried
from orchestrator.attempts.submission import Append
from orchestrator.config.profile import ClusterProfile
from orchestrator.contract.result import Result
from orchestrator.record.directory import RunDirectory
from orchestrator.record.history import History, Trial
from orchestrator.record.summary import Summary, value_text


class Settlement:
    """Settles attempts in the ledger, and says so."""

    def __init__(
        self,
        run: RunDirectory,
        profile: ClusterProfile,
        history: History,
        append: Append,
        *,
        scheduler_host: Callable[[str], str],
        say: Callable[[str], None],
    ) -> None:
        """Args:
        run: of the study.
        profile: whose rules say what follows on a failure.
        history: the study so far, which `append(kind, **fields)` adds to.
        append: see there.
        scheduler_host: the scheduler's name of the host where a job ran; empty if it is not known.
        say: takes a line for people.
        """
        self._run, self._profile, self._history = run, profile, history
        self._append, self._scheduler_host, self._say = append, scheduler_host, say
        self._summary = Summary(history)

    def settle(self, evaluation: Result) -> None:
        """Record how an attempt ended; its trial has this outcome, unless another attempt follows."""
        trial = self._history.trials[evaluation.trial]
        place: dict[str, Any] = {"trial": trial.number, "attempt": evaluation.attempt}
        # The scheduler's name of the host is the one that it can be told to avoid.
        job = trial.attempts[evaluation.attempt - 1].job or ""
        place["host"] = self._scheduler_host(job) or evaluation.host
        if is_retried(trial, evaluation, self._profile):
            told = {"failure": evaluation.failure, "message": evaluation.message}
            reached = {"started_at": evaluation.started_at, "trained": evaluation.trained or 0.0}
            self._append("failed", **place, **told, **reached)
            why = f"{evaluation.failure}, another attempt follows: {evaluation.message}"
            self._say(f"trial {trial.number}: {why}")
            return
        copies = self._run.copies(trial.number, evaluation.attempt)
        if len(copies) > 1:
            place["copies"] = copies
            where = " and ".join(f"on {copy['host']} (pid {copy['pid']})" for copy in copies)
            self._say(
                f"trial {trial.number}: its job ran {len(copies)} times, {where}: "
                f"the first complete result counts, that of {evaluation.host} (pid {evaluation.pid})"
            )
        content = evaluation.model_dump(mode="json", exclude_defaults=True)
        self._append("evaluated", **place, evaluation=content)
        self._say(self._line(trial))

    def _line(self, trial: Trial) -> str:
        """One line of progress: what came, how it compares, how far we are."""
        summary, evaluation = self._summary, trial.evaluation
        assert evaluation is not None
        if evaluation.failure is not None:
            said = "".join(c for c in evaluation.message if c.isprintable())
            what = f"{evaluation.failure}: {said if len(said) <= 300 else said[:299] + '…'}"
        else:
            what = f"{summary.metric} {value_text(summary.objective(trial))}"
            what += " (best so far)" if trial is summary.incumbent else ""
        of = f" of {summary.budget}" if summary.budget else ""
        name = f"trial {trial.number}" if trial.suggestion is not None else "base model"
        return f"{name}: {what}; {summary.evaluated}{of} done{summary.left_text}"
