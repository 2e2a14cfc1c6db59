"""The master: one study from its first ask to its last evaluation.

A loop that keeps every slot of the cluster busy: whenever something was evaluated, tell the algorithm;
whenever slots are free, ask it for as many; submit what waits; look for results. An algorithm that searches
in rounds answers nothing until its round is told, and hands out what it has planned as slots get free.

Every fact is in the ledger before anything follows from it, so a master that dies at any instant is continued
by the next one as if nothing had happened: it loads the algorithm's last state, tells what was evaluated
since, finds out what became of submissions without an answer, and goes on waiting for the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from orchestrator import requests
from orchestrator.algorithms.base import Algorithm
from orchestrator.dialogue import Dialogue
from orchestrator.errors import SchedulerError, StudyStopped
from orchestrator.executors.base import Executor
from orchestrator.gather import Gatherer, Pending
from orchestrator.health import held_back, why_stopped
from orchestrator.history import History, Trial
from orchestrator.ledger import Ledger
from orchestrator.profile import ClusterProfile
from orchestrator.run import MasterLock, RunDirectory
from orchestrator.spec import StudySpec
from orchestrator.submission import Submission
from orchestrator.summary import Summary, value_text, values_text
from orchestrator.trial import Assignment, Evaluation, Failure


class Master:
    """Runs a study. The caller holds the run's lock and has written the record `created`."""

    def __init__(
        self,
        run: RunDirectory,
        lock: MasterLock,
        *,
        spec: StudySpec,
        profile: ClusterProfile,
        executor: Executor,
        algorithm: Algorithm,
        ledger: Ledger,
        history: History,
        say: Callable[[str], None],
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._run, self._spec, self._profile = run, spec, profile
        self._executor = executor
        self._ledger, self._history, self._lock = ledger, history, lock
        self._say, self._wait = say, wait
        self._summary = Summary(history)
        self._dialogue = Dialogue(algorithm, spec, history, self._append, slots=profile.max_jobs, say=say)
        self._gatherer = Gatherer(
            executor,
            spec.objective.metrics,
            poll_s=profile.poll_s,
            grace_s=profile.grace_s,
            patience_s=60 * profile.patience_min,
            say=say,
        )
        self._submission = Submission(
            run,
            executor,
            history,
            self._append,
            patience_s=60 * profile.patience_min,
            wait=wait,
            say=say,
        )

    def run(self) -> str:
        """Search until the study ends; return why it did.

        Raises:
            InputError: a study to start from cannot be used.
            StudyStopped: it cannot go on, or was cancelled; nothing is lost.
        """
        try:
            self._recover()
            while True:
                self._lock.beat()
                if self._run.cancel_is_requested():
                    self._cancel()
                    continue
                self._take_requests()
                self._dialogue.tell()
                if self._dialogue.ask():
                    continue  # what shares a score can be told at once, and leaves its slot free
                if self._history.open_trials:
                    self._work()
                elif held := held_back(self._history):
                    self._stop(held)
                else:
                    self._append("ended", why="done", message=self._dialogue.why_silent)
                    return self._dialogue.why_silent
        except OSError as error:  # the disk is full, or the shared filesystem away
            raise StudyStopped(
                f"{error.filename or self._run.path}: {error.strerror or error}; "
                f"nothing is lost: mend that, then `orchestrator resume {self._run.path}`"
            ) from error

    # -- taking up ------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        self._dialogue.take_up()
        if (ended := self._history.ended) is not None:
            held = held_back(self._history) if ended["why"] == "failed" else []
            numbers = sorted(trial.number for trial in held)
            self._append("reopened", trials=numbers)
            if numbers:
                self._say(f"trying again, hoping that it is mended: trials {', '.join(map(str, numbers))}")
        for token in list(self._history.submissions):
            self._submission.reconcile(token)

    def _take_requests(self) -> None:
        """Take up what `orchestrator enqueue` asks for: the record first, then the file goes."""
        for request in requests.waiting(self._run):
            if request.name not in self._history.requests:
                configuration = requests.content(request, self._spec.space)
                if configuration is None:
                    self._say(f"{request}: asks for no configuration of this study, passed over")
                else:
                    self._dialogue.enqueue(request.name, configuration)
                    self._say(f"enqueued: {values_text(configuration)}")
            request.unlink(missing_ok=True)

    # -- submit and gather ----------------------------------------------------------------------------------

    def _work(self) -> None:
        """One look at the open trials: submit what fits, take in what is there."""
        waiting = [t for t in self._history.open_trials if t.attempt is None]
        under_way = [t for t in self._history.open_trials if t.attempt is not None]
        if batch := waiting[: max(0, self._profile.max_jobs - len(under_way))]:
            self._submission.submit(batch, self._assignment)
            self._gatherer.expect_soon()
        settled = self._gatherer.step(self._pending())
        for evaluation in settled:
            self._settle(evaluation)
        if not settled:
            self._wait(min(0.5, self._profile.poll_s))

    def _pending(self) -> list[Pending]:
        return [
            Pending(
                trial.number,
                attempt.number,
                self._run.attempt(trial.number, attempt.number),
                self._run.jobs(attempt.token),
                attempt.job,
            )
            for trial in self._history.open_trials
            if (attempt := trial.attempt) is not None and attempt.job is not None
        ]

    def _settle(self, evaluation: Evaluation) -> None:
        trial = self._history.trials[evaluation.trial]
        failure = evaluation.failure
        tried = sum(attempt.ended != "withdrawn" for attempt in trial.attempts)
        if failure is not None and failure.about_host and tried < self._profile.attempts:
            content = {"failure": failure, "message": evaluation.message}
            self._append("failed", trial=trial.number, attempt=evaluation.attempt, **content)
            self._say(f"trial {trial.number}: {failure}, another attempt follows: {evaluation.message}")
            return
        content = evaluation.model_dump(mode="json", exclude_defaults=True)
        self._append("evaluated", trial=trial.number, attempt=evaluation.attempt, evaluation=content)
        self._say(self._line(trial))

    def _assignment(self, trial: Trial, attempt: int) -> Assignment:
        return Assignment(
            study=self._spec.name,
            trial=trial.number,
            attempt=attempt,
            configuration=trial.configuration,
            seed=(self._spec.seed * 1_000_003 + trial.number) % 2**31,
            evaluation=self._spec.evaluation.model_dump(mode="json"),
            metrics=self._spec.objective.metrics,
            cache=str(self._run.cache),
            walltime_min=self._profile.walltime_min,
        )

    def _cancel(self) -> None:
        pending = self._pending()
        try:
            known = self._executor.find(self._history.token_prefix).values()
            self._executor.cancel(sorted({p.job for p in pending}.union(*known)))
        except SchedulerError as error:
            self._say(f"the scheduler did not cancel, asking again: {error}")
            self._wait(5.0)
            return
        for p in pending:
            content = {"failure": Failure.CANCELLED, "message": "orchestrator cancel"}
            self._append("failed", trial=p.trial, attempt=p.attempt, **content)
        self._append("ended", why="cancelled", message="by `orchestrator cancel`")
        self._run.cancel_request.unlink(missing_ok=True)
        raise StudyStopped(f"cancelled; to go on after all: `orchestrator resume {self._run.path}`")

    # -- the end --------------------------------------------------------------------------------------------

    def _stop(self, held: list[Trial]) -> None:
        """Stop rather than search on what failed of something that is no configuration's fault."""
        last = held[-1].evaluation
        assert last is not None
        message = why_stopped(self._history, held, self._run.attempt(last.trial, last.attempt) / "log.out")
        message += f"Mend it, then `orchestrator resume {self._run.path}` tries these trials again"
        self._append("ended", why="failed", message=message)
        raise StudyStopped(message)

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

    def _append(self, kind: str, **fields: Any) -> None:
        self._history.fold(self._ledger.append(kind, **fields))
