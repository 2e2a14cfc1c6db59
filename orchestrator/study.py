"""The master: one study from its first round to its last.

A round: ask the algorithm for a batch; record it with the algorithm's state; submit; gather; record each
evaluation; tell. Every fact is in the ledger before anything follows from it, so a master that dies at any
instant is continued by the next one as if nothing had happened: it loads the algorithm's last state, finds
out what became of submissions without an answer, and goes on waiting for the rest.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from orchestrator.algorithms.base import Algorithm
from orchestrator.errors import SchedulerError, StudyStopped
from orchestrator.executors.base import Executor
from orchestrator.faults import fault_point
from orchestrator.files import dumps
from orchestrator.gather import Gatherer, Pending
from orchestrator.history import History, Trial
from orchestrator.ledger import Ledger
from orchestrator.profile import ClusterProfile
from orchestrator.run import MasterLock, RunDirectory
from orchestrator.spec import StudySpec
from orchestrator.submission import Submission
from orchestrator.summary import Summary, value_text
from orchestrator.trial import Assignment, Evaluation, Failure, Observation, Outcome

FRUITLESS_ROUNDS = 100  # in a row, every suggestion a known configuration: the search has nothing new


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
        self._executor, self._algorithm = executor, algorithm
        self._ledger, self._history, self._lock = ledger, history, lock
        self._say, self._wait = say, wait
        self._summary = Summary(history)
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
            StudyStopped: it cannot go on, or was cancelled; nothing is lost.
        """
        try:
            self._recover()
            while True:
                self._lock.beat()
                if self._run.cancel_is_requested():
                    self._cancel()
                elif self._history.open_trials:
                    self._work()
                else:
                    self._check_round()
                    self._tell()
                    if (why := self._ask()) is not None:
                        self._append("ended", why="done", message=why)
                        return why
        except OSError as error:  # the disk is full, or the shared filesystem away
            raise StudyStopped(
                f"{error.filename or self._run.path}: {error.strerror or error}; "
                f"nothing is lost: mend that, then `orchestrator resume {self._run.path}`"
            ) from error

    # -- taking up ------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        if self._history.state is not None:
            self._algorithm.load(self._history.state)
        if (ended := self._history.ended) is not None:
            again = self._history.rounds[-1] if ended["why"] == "failed" else []
            numbers = [n for n in again if self._failed(self._history.trials[n])]
            self._append("reopened", trials=numbers)
            if numbers:
                self._say(f"trying again, hoping that it is mended: trials {', '.join(map(str, numbers))}")
        for token in list(self._history.submissions):
            self._submission.reconcile(token)

    def _failed(self, trial: Trial) -> bool:
        evaluation = trial.evaluation
        return trial.shares is None and evaluation is not None and evaluation.outcome is Outcome.FAILED

    # -- ask ------------------------------------------------------------------------------------------------

    def _ask(self) -> str | None:
        """Ask for the next round and record it; or return why there is none."""
        spec, history = self._spec, self._history
        left = spec.most_evaluations - len(history.spent)
        if left <= 0:
            return f"the budget of {spec.budget.evaluations} evaluations is spent"
        if spec.budget.gpu_hours is not None and (used := self._summary.gpu_hours) >= spec.budget.gpu_hours:
            return f"the budget of {spec.budget.gpu_hours:g} GPU-hours is spent ({used:.2f})"
        known = {dumps(t.configuration): t.number for t in history.trials if t.shares is None}
        if spec.space.cardinality is not None and len(history.spent) >= spec.space.cardinality:
            return f"all {spec.space.cardinality} configurations of the space are evaluated"
        rounds = (all(history.trials[n].shares is not None for n in r) for r in reversed(history.rounds))
        if len(list(itertools.takewhile(bool, rounds))) >= FRUITLESS_ROUNDS:
            return f"{spec.algorithm} asked for no new configuration in {FRUITLESS_ROUNDS} rounds"
        # A shared score costs no evaluation, so the suggestions may be as many more.
        self._algorithm.budget = spec.most_evaluations + sum(t.shares is not None for t in history.trials)
        batch = self._algorithm.ask(min(left, self._profile.max_jobs))
        if not batch:
            return f"{spec.algorithm} has nothing more to ask"
        asked: list[dict[str, Any]] = []
        if spec.include_base and not history.trials:
            asked.append({"suggestion": None, "point": None, "configuration": {}, "note": {}, "shares": None})
        for suggestion in batch:
            configuration = spec.space.decode(suggestion.point)
            key = dumps(configuration)
            shares = known.get(key)
            known.setdefault(key, len(history.trials) + len(asked))
            asked.append(
                {
                    "suggestion": suggestion.id,
                    "point": list(suggestion.point),
                    "configuration": configuration,
                    "note": suggestion.note,
                    "shares": shares,
                }
            )
        self._append("state", round=len(history.rounds), state=self._algorithm.dump())
        self._append("asked", round=len(history.rounds), trials=asked)
        new = sum(a["shares"] is None for a in asked)
        shared = f", {len(asked) - new} known already" if new < len(asked) else ""
        self._say(f"round {len(history.rounds)}: {new} to evaluate{shared}")
        return None

    # -- submit and gather ----------------------------------------------------------------------------------

    def _work(self) -> None:
        """One look at the open trials of the round: submit what fits, take in what is there."""
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

    # -- tell -----------------------------------------------------------------------------------------------

    def _check_round(self) -> None:
        """Stop rather than search on when the round failed of something that is no configuration's fault."""
        if not self._history.rounds:
            return
        numbers = self._history.rounds[-1]
        own = [self._history.trials[n] for n in numbers if self._history.trials[n].shares is None]
        failures = {e.failure for t in own if (e := t.evaluation) is not None}
        first = len(self._history.rounds) == 1
        if not own or None in failures or Failure.DIVERGED in failures:
            return
        if not (first or all(f is not None and f.about_setup for f in failures)):
            return
        last = own[-1].evaluation
        assert last is not None
        which = "the whole first round" if first else "a whole round"
        classes = ", ".join(sorted(failure for failure in failures if failure))
        log = self._run.attempt(last.trial, last.attempt) / "log.out"
        message = (
            f"{which} failed ({classes}): a fault of the set-up, not of the configurations. "
            f"{last.message}. Log: {log}. "
            f"Mend it, then `orchestrator resume {self._run.path}` tries these trials again"
        )
        self._append("ended", why="failed", message=message)
        raise StudyStopped(message)

    def _tell(self) -> None:
        """Tell the algorithm of the last round, in trial order."""
        if not self._history.rounds:
            return
        fault_point("before-tell")
        observations = []
        for number in self._history.rounds[-1]:
            trial = self._history.trials[number]
            evaluation = self._history.evaluation(trial)
            assert evaluation is not None
            if trial.suggestion is not None:
                observations.append(observation(trial.suggestion, evaluation, self._spec))
        self._algorithm.tell(observations)
        fault_point("after-tell")

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


def observation(suggestion: int, evaluation: Evaluation, spec: StudySpec) -> Observation:
    """What the algorithm is told: the objective as a score to maximize, or a failure."""
    if evaluation.outcome is Outcome.FAILED:
        return Observation(suggestion, None)
    metric = evaluation.metrics[spec.objective.metric]
    return Observation(suggestion, spec.objective.sign * metric.value, metric.stderr)
