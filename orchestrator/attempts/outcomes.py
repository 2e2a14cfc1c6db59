"""How an attempt ends, and what that means for its trial: another attempt, or the trial's outcome.

Whatever ends an attempt that had a job comes through here: its result, the scheduler's word, a person's
`cancel`, a charter that does not let it start.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.attempts.gather import Pending
from orchestrator.attempts.retries import is_retried
from orchestrator.config import ClusterProfile
from orchestrator.contract import Failure, Result
from orchestrator.record import RunDirectory, StudyRecord, Summary, Trial
from orchestrator.record.facts import Evaluated, Failed, Withdrawn
from orchestrator.record.summary import value_text


class Outcomes:
    """Records how attempts end, and says so."""

    def __init__(
        self,
        run: RunDirectory,
        profile: ClusterProfile,
        record: StudyRecord,
        *,
        scheduler_host: Callable[[str], str],
        say: Callable[[str], None],
    ) -> None:
        """Args:
        run: the study's directory.
        profile: whose rules say what follows on a failure.
        record: the study so far, which the ends of attempts are added to.
        scheduler_host: the scheduler's name of the host where a job ran; empty if it is not known.
        say: takes a line for people.
        """
        self._run, self._profile, self._record = run, profile, record
        self._scheduler_host, self._say = scheduler_host, say
        self._summary = Summary(record.history)

    def settle(self, evaluation: Result) -> None:
        """End an attempt with this result: its trial has this outcome, unless another attempt follows."""
        trial = self._record.history.trials[evaluation.trial]
        # The scheduler's name of the host is the one that it can be told to avoid.
        job = trial.attempts[evaluation.attempt - 1].job or ""
        host = self._scheduler_host(job) or evaluation.host
        if evaluation.failure is not None and is_retried(trial, evaluation, self._profile):
            self._record.write(
                Failed(
                    trial=trial.number,
                    attempt=evaluation.attempt,
                    host=host,
                    failure=evaluation.failure,
                    message=evaluation.message,
                    started_at=evaluation.started_at,
                    trained=evaluation.trained or 0.0,
                )
            )
            why = f"{evaluation.failure}, another attempt follows: {evaluation.message}"
            self._say(f"trial {trial.number}: {why}")
            return
        copies = self._run.copies(trial.number, evaluation.attempt)
        if len(copies) > 1:
            where = " and ".join(f"on {copy['host']} (pid {copy['pid']})" for copy in copies)
            self._say(
                f"trial {trial.number}: its job ran {len(copies)} times, {where}: "
                f"the first complete result counts, that of {evaluation.host} (pid {evaluation.pid})"
            )
        self._record.write(
            Evaluated(
                trial=trial.number,
                attempt=evaluation.attempt,
                host=host,
                copies=tuple(copies) if len(copies) > 1 else (),
                evaluation=evaluation,
            )
        )
        self._say(self._line(trial))

    def withdraw(self, pending: Pending, why: str) -> None:
        """End an attempt whose job can never start: its trial waits to be submitted again."""
        self._record.write(Withdrawn(trial=pending.trial, attempt=pending.attempt, why=why))

    def cancel(self, pending: Pending) -> None:
        """End an attempt that a person cancelled with the study."""
        said = "orchestrator cancel"
        self._record.write(
            Failed(trial=pending.trial, attempt=pending.attempt, failure=Failure.CANCELLED, message=said)
        )

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
