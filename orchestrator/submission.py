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
from typing import Any

from orchestrator.errors import SchedulerError, StudyStopped
from orchestrator.executors.base import Executor, Resources
from orchestrator.faults import fault_point
from orchestrator.files import dumps, publish, publish_once
from orchestrator.history import History, Trial
from orchestrator.profile import ClusterProfile
from orchestrator.run import RunDirectory
from orchestrator.trial import Assignment

Append = Callable[..., Any]  # append(kind, **fields): to the ledger, and folded into the history


def resources(profile: ClusterProfile) -> Resources:
    """What one evaluation asks of the scheduler under this profile."""
    return Resources(
        hosts=profile.hosts,
        gpus=profile.gpus,
        walltime_min=profile.walltime_min,
        max_jobs=profile.max_jobs,
        setup=profile.setup,
        environment=profile.environment,
        options=profile.options,
    )


class Submission:
    """The way from open trials to recorded jobs."""

    def __init__(
        self,
        run: RunDirectory,
        executor: Executor,
        history: History,
        append: Append,
        *,
        patience_s: float,
        wait: Callable[[float], None] = time.sleep,
        say: Callable[[str], None],
    ) -> None:
        self._run = run
        self._executor = executor
        self._history = history
        self._append = append
        self._patience_s = patience_s
        self._wait = wait
        self._say = say

    def submit(self, trials: Sequence[Trial], assignment: Callable[[Trial, int], Assignment]) -> None:
        """Submit the next attempt of each trial.

        Raises:
            StudyStopped: the scheduler refused, or stayed silent beyond patience.
            OSError: the run directory cannot be written.
        """
        attempts = [(trial.number, len(trial.attempts) + 1) for trial in trials]
        token = f"{self._history.token_prefix}{self._history.submission_count:04d}"
        folder = self._run.jobs(token)
        directories = [self._run.attempt(*attempt) for attempt in attempts]
        for trial, (_, number), directory in zip(trials, attempts, directories, strict=True):
            directory.mkdir(parents=True, exist_ok=True)
            publish(directory / "trial.json", assignment(trial, number).model_dump_json(indent=2))
        folder.mkdir(parents=True, exist_ok=True)
        self._append("submitting", token=token, attempts=[list(attempt) for attempt in attempts])
        try:
            fault_point("before-submit")
            jobs = self._executor.submit(directories, token, folder)
            fault_point("after-submit")
        except SchedulerError as error:
            self._say(f"the scheduler did not take {token}: {error}")
            self.reconcile(token, why=error)
        else:
            self._append("submitted", token=token, jobs=jobs)

    def reconcile(self, token: str, why: SchedulerError | None = None) -> None:
        """Find out what became of a submission whose answer is not recorded, and record it.

        Raises:
            StudyStopped: no job came of it and the scheduler refused (`why`), or it stays silent.
        """
        attempts = self._history.submissions[token]
        known = self._found(token)
        jobs: list[str | None] = list(known)
        if len(known) != len(attempts):
            jobs = [self._claimant(trial, attempt) for trial, attempt in attempts]
            # Jobs that have not claimed their attempt by now never can: no use in queueing for it.
            self._executor.cancel([job for job in known if job not in jobs])
        self._append("submitted", token=token, jobs=jobs)
        if why is not None and not any(jobs):
            raise StudyStopped(f"the scheduler refused the jobs: {why}. {self._advice}") from why

    def _found(self, token: str) -> list[str]:
        # At the very first submission a person is there, and a wrong set-up is likelier than an outage.
        patience_s = self._patience_s if self._history.submission_count > 1 else 0.0
        pause, deadline = 5.0, time.monotonic() + patience_s
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

    def _claimant(self, trial: int, attempt: int) -> str | None:
        """The job that claimed the attempt; None if none has, and from now on none can."""
        claim = self._run.attempt(trial, attempt) / "claim.json"
        if publish_once(claim, dumps({"job": None, "by": "master", "why": "submission lost"})):
            return None
        job = json.loads(claim.read_text())["job"]
        return None if job is None else str(job)

    @property
    def _advice(self) -> str:
        return f"Nothing is lost: mend that, then `orchestrator resume {self._run.path}`"
