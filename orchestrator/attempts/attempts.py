"""The attempts at a study's open trials: submitted when there is room, settled when their results show."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from orchestrator.attempts.gather import Gatherer, Pending, failed, stuck
from orchestrator.attempts.outcomes import Outcomes
from orchestrator.attempts.permission import Permission
from orchestrator.attempts.quota import Quota
from orchestrator.attempts.retries import is_retried, overrides_of, struck
from orchestrator.attempts.submission import Submission
from orchestrator.config import ClusterProfile, StudySpec
from orchestrator.config.charter import Verdict
from orchestrator.contract import Assignment, Failure, Result
from orchestrator.errors import Full, SchedulerError, StudyStopped
from orchestrator.executors import Executor, State
from orchestrator.executors.base import Overrides
from orchestrator.record import Attempt, RunDirectory, StudyRecord, Trial
from orchestrator.record.facts import Noted

# How an attempt ended without its job's own word.
_UNHEARD = (Failure.KILLED, Failure.LOST, Failure.PREEMPTED, Failure.HOST_FAULT)


class Attempts:
    """What is under way, between the ledger and the scheduler."""

    def __init__(
        self,
        run: RunDirectory,
        *,
        spec: StudySpec,
        profile: ClusterProfile,
        executor: Executor,
        record: StudyRecord,
        say: Callable[[str], None],
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """Args:
        run: the study's directory.
        spec: the study.
        profile: where it runs.
        executor: submits to the scheduler that the profile names.
        record: the study so far, which what happens to attempts is added to.
        say: takes a line for people.
        wait: sleeps so many seconds.
        """
        self._run, self._spec, self._profile, self._executor = run, spec, profile, executor
        self._record, self._history = record, record.history
        self._say, self._wait = say, wait
        self._quota = Quota(profile.max_jobs)
        self._permission = Permission(profile, record.history)
        self._full_at: int | None = None  # jobs under way when it was last said that the site takes no more
        patience_s = 60 * profile.patience_min
        self._gatherer = Gatherer(
            executor,
            spec.objective.metrics,
            poll_s=profile.poll_s,
            grace_s=profile.grace_s,
            patience_s=patience_s,
            say=say,
            note=self._note,
        )
        self._outcomes = Outcomes(run, profile, record, scheduler_host=self._gatherer.host, say=say)
        self._submission = Submission(
            run,
            executor,
            record,
            trials_per_job=profile.trials_per_job,
            patience_s=patience_s,
            wait=wait,
            say=say,
        )

    @property
    def provisional(self) -> bool:
        """True while something will soon be known that is not known now: it is worth while to wait."""
        return self._gatherer.provisional

    def recover(self) -> None:
        """Find out what became of submissions whose answer is not recorded.

        Raises:
            StudyStopped: the scheduler stays silent.
        """
        for token in list(self._history.submissions):
            self._submission.reconcile(token)

    def step(self) -> bool:
        """One look: submit what has room, take in what is there; True if anything was.

        Raises:
            StudyStopped: the scheduler refused or stays silent, or an attempt's directory cannot be read.
            OSError: the run directory cannot be written.
        """
        self._submit()
        pending = self._pending()
        settled = self._gatherer.step(pending)
        for evaluation in settled:
            self._outcomes.settle(evaluation)
        settled += self._give_up_held()
        late = self._gatherer.late(self._given_up())
        for evaluation in late:
            self._supersede(evaluation, pending)
        self._withdraw()
        return bool(settled or late)

    def cancel(self) -> None:
        """End every job of the study, and record it.

        Raises:
            SchedulerError: the scheduler did not do it; nothing is recorded.
        """
        pending = self._pending()
        known = self._executor.find(self._history.token_prefix).values()
        self._executor.cancel(sorted({p.job for p in pending}.union(*known)))
        for p in pending:
            self._outcomes.cancel(p)

    def clear(self) -> None:
        """Cancel what waits although every trial is settled: jobs that were requeued after their end."""
        try:
            jobs = sum(self._executor.find(self._history.token_prefix).values(), list[str]())
        except SchedulerError as error:
            self._say(f"whether jobs are left in the queue is not known: {error}")
            return
        states = self._executor.poll(jobs) if jobs else {}
        self._end([job for job, state in states.items() if state.state is State.PENDING])

    # -- submitting -----------------------------------------------------------------------------------------

    def _submit(self) -> None:
        """Submit what waits and has room; together what is asked with the same overrides."""
        waiting = [t for t in self._history.open_trials if t.attempt is None]
        avoided = struck(self._history, self._profile.strikes) if waiting else set()
        trials_per_job = self._profile.trials_per_job
        while waiting:
            under_way = self._history.jobs_under_way
            if (free := self._quota.free(under_way)) < 1:
                return
            asked = overrides_of(waiting[0], avoided, self._profile)
            batch = [t for t in waiting if overrides_of(t, avoided, self._profile) == asked][
                : free * trials_per_job
            ]
            walltime_min = asked.walltime_min or self._profile.walltime_min
            granted, verdict = self._permission.granted(
                math.ceil(len(batch) / trials_per_job), walltime_min, self._gatherer.states
            )
            if not (batch := batch[: granted * trials_per_job]):
                self._say_held_back(verdict)
                return
            jobs = math.ceil(len(batch) / trials_per_job)
            try:
                self._submission.submit(batch, self._assignment, asked)
            except Full as full:
                self._quota.refused(jobs, under_way)
                if jobs > 1:
                    continue
                if under_way != self._full_at:
                    self._full_at = under_way
                    self._say(f"the scheduler takes no more than {under_way} jobs now: {full}")
                return
            self._quota.taken(jobs, under_way)
            if not under_way:  # a round begins; where slots are filled one by one, every look would be soon
                self._gatherer.expect_soon()
            taken = {trial.number for trial in batch}
            waiting = [trial for trial in waiting if trial.number not in taken]

    def _say_held_back(self, verdict: Verdict) -> None:
        """Raises: StudyStopped: the charter never allows such a job."""
        if verdict.until is None:
            raise StudyStopped(
                f"the charter of {self._run.profile} never allows such a job: {verdict.why}. "
                f"Mend that, then `orchestrator resume {self._run.path}`"
            )
        self._note(f"held back by the charter until {verdict.until:%a %d %b %H:%M}: {verdict.why}")

    def _note(self, text: str) -> None:
        """Say it unless it was said."""
        if text not in self._history.notes:
            self._record.write(Noted(text=text))
            self._say(text)

    def _withdraw(self) -> None:
        """Take back jobs that wait and that the charter does not let start any more."""
        revoked = self._permission.revoked(self._pending(), self._gatherer.states)
        if not revoked:
            return
        taken = [p for p, _ in revoked if self._submission.is_unstartable(p)]
        for p in taken:
            self._outcomes.withdraw(p, revoked[0][1].why)
        # Trials that share a job with these may have started.
        started = {p.job for p, _ in revoked if p not in taken}
        self._end([job for job in dict.fromkeys(p.job for p in taken) if job not in started])
        if taken:
            self._say(f"{len(taken)} waiting jobs withdrawn, to be submitted again")

    def _assignment(self, trial: Trial, attempt: int, asked: Overrides) -> Assignment:
        promoted = self._spec.promotion(trial.configuration)
        return Assignment(
            study=self._spec.name,
            trial=trial.number,
            attempt=attempt,
            configuration=trial.configuration,
            seed=self._spec.seed_of(trial.number, trial.configuration),
            evaluation=self._spec.evaluation.model_dump(mode="json"),
            metrics=self._spec.objective.metrics,
            cache=str(self._run.cache),
            walltime_min=asked.walltime_min,
            hosts=self._profile.hosts,
            gpus=self._profile.gpus // self._profile.trials_per_job,
            checkpoint=str(self._run.checkpoint(trial.number)),
            goes_on_from=None if promoted is None else promoted.adapter,
        )

    # -- gathering ------------------------------------------------------------------------------------------

    def _pending(self) -> list[Pending]:
        return [
            self._pending_of(trial, attempt, attempt.job)
            for trial in self._history.open_trials
            if (attempt := trial.attempt) is not None and attempt.job is not None
        ]

    def _given_up(self) -> list[Pending]:
        """Attempts of open trials that were given up; their jobs may live on."""
        return [
            self._pending_of(trial, attempt, attempt.job)
            for trial in self._history.open_trials
            for attempt in trial.attempts
            if attempt.job is not None and attempt.ended in _UNHEARD
        ]

    def _give_up_held(self) -> list[Result]:
        """Make attempts anew whose job no host could start; the last one of a trial is left to a person."""
        given_up, kept = list[Result](), set[str]()
        for p in self._pending():
            state = self._gatherer.states.get(p.job)
            if state is None or not state.launch_failed:
                continue
            message = f"job {p.job} was not started by its host ({state.word}, {state.reason})"
            evaluation = failed(p, Failure.HOST_FAULT, message)
            if is_retried(self._history.trials[p.trial], evaluation, self._profile):
                self._outcomes.settle(evaluation)
                given_up.append(evaluation)
            else:
                self._note(stuck(p, state))
                kept.add(p.job)  # trials may share one
        self._end([job for job in dict.fromkeys(one.job for one in given_up) if job not in kept])
        return given_up

    def _end(self, jobs: list[str]) -> None:
        """Cancel jobs that are not needed any more."""
        try:
            self._executor.cancel(jobs)
        except SchedulerError as error:
            self._say(f"job {', '.join(jobs)} is not needed any more and was not cancelled: {error}")

    def _pending_of(self, trial: Trial, attempt: Attempt, job: str) -> Pending:
        directory = self._run.attempt(trial.number, attempt.number)
        return Pending(trial.number, attempt.number, directory, self._run.jobs(attempt.token), job)

    def _supersede(self, evaluation: Result, pending: list[Pending]) -> None:
        """Take a score from an attempt that was given up, and end the one that came in its place."""
        trial = self._history.trials[evaluation.trial]
        if trial.evaluation is not None:
            return
        self._say(
            f"trial {trial.number}: attempt {evaluation.attempt}, given up as lost, has a result after all"
        )
        self._outcomes.settle(evaluation)
        others = {p.job for p in pending if p.trial != trial.number}  # a job may be theirs too
        jobs = [
            p.job
            for p in pending
            if p.trial == trial.number and p.attempt != evaluation.attempt and p.job not in others
        ]
        self._end(jobs)
