"""Submitting attempts so that none is lost and none runs twice, whenever the master dies.

Before a submission its token and attempts are written to the ledger; after it, the jobs. A master that finds
a token without jobs asks the scheduler for it. If the scheduler knows no such job, the attempt may still have
run and ended, or a submission in flight may yet arrive. The claim settles both: a job starts by creating
`claim.json` in its attempt's directory, and gives up if another holds it. So the master creates it first
(then no job can ever start on this attempt, and a new attempt follows), or finds who did.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator import errors
from orchestrator.attempts.gather import Pending
from orchestrator.contract import Assignment, publish, publish_once
from orchestrator.contract.attempt import CLAIM, TRIAL
from orchestrator.contract.files import dumps
from orchestrator.errors import Full, SchedulerError, StudyStopped
from orchestrator.executors import Executor
from orchestrator.executors.base import Overrides
from orchestrator.record import RunDirectory, StudyRecord, Trial
from orchestrator.record.facts import Refused, Submitted, Submitting
from orchestrator.record.faults import fault_point


class Submission:
    """The way from open trials to recorded jobs."""

    def __init__(
        self,
        run: RunDirectory,
        executor: Executor,
        record: StudyRecord,
        *,
        trials_per_job: int = 1,
        patience_s: float,
        wait: Callable[[float], None] = time.sleep,
        say: Callable[[str], None],
    ) -> None:
        """Args:
        run: the study's directory.
        executor: submits to the scheduler.
        record: the study so far, which submissions are added to.
        trials_per_job: attempts that share a job.
        patience_s: how long a scheduler that does not answer, or takes nothing, is asked again.
        wait: sleeps so many seconds.
        say: takes a line for people.
        """
        self._run = run
        self._executor = executor
        self._record, self._history = record, record.history
        self._trials_per_job = trials_per_job  # attempts that share a job
        self._patience_s = patience_s
        self._failing_since: float | None = None  # submissions come to nothing
        self._wait = wait
        self._say = say

    def submit(
        self,
        trials: Sequence[Trial],
        assignment: Callable[[Trial, int, Overrides], Assignment],
        overrides: Overrides,
    ) -> None:
        """Submit the next attempt of each trial.

        Raises:
            Full: the scheduler does not take so many now; nothing was submitted.
            StudyStopped: the scheduler refused, or stayed silent beyond patience.
            OSError: the run directory cannot be written.
        """
        attempts = [(trial.number, len(trial.attempts) + 1) for trial in trials]
        token = f"{self._history.token_prefix}{self._history.submission_count:04d}"
        folder = self._run.jobs(token)
        directories = [self._run.attempt(*attempt) for attempt in attempts]
        for trial, (_, number), directory in zip(trials, attempts, directories, strict=True):
            directory.mkdir(parents=True, exist_ok=True)
            publish(directory / TRIAL, assignment(trial, number, overrides).model_dump_json(indent=2))
        folder.mkdir(parents=True, exist_ok=True)
        self._record.write(
            Submitting(
                token=token,
                attempts=tuple(attempts),
                walltime_min=overrides.walltime_min,
                exclude=overrides.exclude,
                trials_per_job=self._trials_per_job,
            )
        )
        try:
            fault_point("before-submit")
            jobs = self._executor.submit(directories, token, folder, overrides)
            fault_point("after-submit")
        except errors.Refused as refused:
            self._record.write(Refused(token=token, why=str(refused)))
            if isinstance(refused, Full):
                raise
            if overrides.exclude:  # perhaps no host is left without them
                self._say(
                    f"refused without the hosts {', '.join(overrides.exclude)}, asking with them: {refused}"
                )
                self.submit(trials, assignment, replace(overrides, exclude=()))
                return
            raise StudyStopped(f"the scheduler refused the jobs: {refused}. {self._advice}") from refused
        except SchedulerError as error:
            self._say(f"the scheduler did not take {token}: {error}")
            self.reconcile(token, why=error)
        else:
            self._record.write(Submitted(token=token, jobs=tuple(jobs)))
            self._failing_since = None

    def reconcile(self, token: str, why: SchedulerError | None = None) -> None:
        """Find out what became of a submission whose answer is not recorded, and record it.

        Args:
            token: of the submission.
            why: what the scheduler said to it just now, or the lack of an answer.

        Raises:
            StudyStopped: the scheduler stays silent, or takes nothing, beyond patience.
        """
        attempts = self._history.submissions[token]
        known = self._found(token)
        # As it was submitted: the profile may have changed since.
        (trial, number) = attempts[0]
        trials_per_job = self._history.trials[trial].attempts[number - 1].trials_per_job
        jobs: list[str | None]
        if len(known) == -(-len(attempts) // trials_per_job):
            jobs = [known[index // trials_per_job] for index in range(len(attempts))]
        else:
            jobs = [self._claimant(trial, attempt) for trial, attempt in attempts]
            # Jobs that have not claimed their attempt by now never can: no use in queueing for it.
            self._executor.cancel([job for job in known if job not in jobs])
        self._record.write(Submitted(token=token, jobs=tuple(jobs)))
        if why is not None and not any(jobs):
            self._in_vain(why)

    def _in_vain(self, why: SchedulerError) -> None:
        """Wait a little: a submission came to nothing, and what it was for will be submitted again."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if now - self._failing_since >= self._patience_now_s:
            raise StudyStopped(f"the scheduler does not take jobs: {why}. {self._advice}") from why
        self._wait(5.0)

    def is_unstartable(self, pending: Pending) -> bool:
        """True if the attempt's job has not started, and never can: it will find the attempt claimed."""
        return self._claimant(pending.trial, pending.attempt) is None

    def _found(self, token: str) -> list[str]:
        pause, deadline = 5.0, time.monotonic() + self._patience_now_s
        while True:
            try:
                return self._executor.find(self._history.token_prefix).get(token, [])
            except SchedulerError as error:
                said = " ".join(str(error).split())
                if time.monotonic() >= deadline or self._run.cancel_is_requested():
                    raise StudyStopped(f"the scheduler does not answer: {said}. {self._advice}") from error
                self._say(f"the scheduler does not answer, asking again in {pause:.0f} s: {said}")
            self._wait(pause)
            pause = min(2 * pause, 120.0)

    @property
    def _patience_now_s(self) -> float:
        """At the very first submission a person is there, and a wrong set-up is likelier than an outage."""
        return self._patience_s if self._history.submission_count > 1 else 0.0

    def _claimant(self, trial: int, attempt: int) -> str | None:
        """The job that claimed the attempt; None if none has, and from now on none can."""
        claim = self._run.attempt(trial, attempt) / CLAIM
        if publish_once(claim, dumps({"job": None, "by": "master", "why": "submission lost"})):
            return None
        job = json.loads(claim.read_text())["job"]
        return None if job is None else str(job)

    @property
    def _advice(self) -> str:
        return f"Nothing is lost: mend that, then `orchestrator resume {self._run.path}`"
