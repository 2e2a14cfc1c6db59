"""Waiting for attempts: the result file first, the scheduler second, the grace period last.

The result file is the truth; the scheduler only says whether to keep waiting. An attempt is settled when its
result is there, or when its job is over and no result has shown within the grace period (directory caches on
network filesystems). A scheduler that does not answer settles nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from orchestrator.contract import Failure, Outcome, Result
from orchestrator.contract.attempt import CLAIM, LOG, RESULT, tail
from orchestrator.errors import StudyStopped
from orchestrator.executors import Executor, JobState, State

LEAST_FREE_BYTES = 64 * 1024  # with less a job could not write its result


@dataclass(frozen=True, slots=True)
class Pending:
    """An attempt whose job is under way: where it writes, and what the scheduler calls it."""

    trial: int
    attempt: int
    directory: Path
    logs: Path  # the scheduler's own, for a job that died before it could write its own
    job: str


class Gatherer:
    """Watches attempts. Every clock is passed in, so that tests need not wait."""

    def __init__(
        self,
        executor: Executor,
        metrics: Sequence[str],
        *,
        poll_s: float,
        grace_s: float,
        patience_s: float,
        say: Callable[[str], None],
        note: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`note` takes what is to be said once, even if this process ends and another one finds it too."""
        self._executor = executor
        self._metrics = metrics
        self._poll_s = poll_s
        self._grace_s = grace_s
        self._patience_s = patience_s
        self._say, self._note = say, note or say
        self._clock = clock
        self._interval = 0.0  # to the next question; short after a submission, then growing to poll_s
        self._asked_at = -float("inf")
        self._open: set[str] = set()  # jobs that the last look left unsettled
        self._over_since: dict[
            Path, float
        ] = {}  # attempt -> when its job was first seen over without a result
        self._unreadable_since: dict[Path, float] = {}
        self._stuck: dict[str, str] = {}  # job -> the reason that was said
        self.states: dict[str, JobState] = {}

    @property
    def provisional(self) -> bool:
        """True while a job is over and its result may still show: soon it will be known."""
        states = (self.states.get(job) for job in self._open)
        return bool(self._over_since) or any(state is not None and state.provisional for state in states)

    def host(self, job: str) -> str:
        """Where a job ran, in the scheduler's words, which are those that it can be told to avoid."""
        return state.host if (state := self.states.get(job)) is not None else ""

    def late(self, given_up: Sequence[Pending]) -> list[Result]:
        """Scores of attempts that were given up: the scheduler had lost a job that ran on."""
        found = (self._result(p) for p in given_up)
        return [e for e in found if e is not None and e.outcome is Outcome.OK]

    def expect_soon(self) -> None:
        """Ask the scheduler soon: something was submitted."""
        self._interval = min(1.0, self._poll_s)

    def step(self, pending: Sequence[Pending]) -> list[Result]:
        """One look: the evaluations of those that are settled now.

        Raises:
            StudyStopped: an attempt's directory has not been readable for `patience_s`.
        """
        settled = {p.directory: e for p in pending if (e := self._result(p)) is not None}
        waiting = [p for p in pending if p.directory not in settled]
        since = [self._over_since[p.directory] for p in waiting if p.directory in self._over_since]
        grace_ends = any(self._clock() - s >= self._grace_s > self._asked_at - s for s in since)
        if waiting and (grace_ends or self._clock() - self._asked_at >= self._interval):
            self._ask(list(dict.fromkeys(p.job for p in waiting)))  # trials may share one
            self._tell_stuck(waiting)
        for p in waiting:
            state = self.states.get(p.job)
            over = state is not None and state.state in (State.ENDED, State.LOST)
            if not over or p.directory in self._unreadable_since:  # there may be a result that we cannot see
                self._over_since.pop(p.directory, None)
            # The scheduler must have said so at both ends of the grace period: a requeue may lie between.
            elif self._asked_at - self._over_since.setdefault(p.directory, self._clock()) >= self._grace_s:
                result = self._result(p)  # it may have come since the look above
                if p.directory not in self._unreadable_since:
                    settled[p.directory] = result or self._without_result(p)
        still = {p.directory: p.job for p in waiting if p.directory not in settled}
        self._open = set(still.values())
        self._over_since = {attempt: since for attempt, since in self._over_since.items() if attempt in still}
        return list(settled.values())

    def _tell_stuck(self, waiting: Sequence[Pending]) -> None:
        """Say once of each job that it waits for what never comes."""
        for p in waiting:
            state = self.states.get(p.job)
            if state is None or not state.remedy or state.launch_failed:  # of the last, another may be tried
                continue
            if self._stuck.get(p.job) != state.reason:
                self._stuck[p.job] = state.reason
                self._note(stuck(p, state))

    def _ask(self, jobs: Sequence[str]) -> None:
        self.states = self._executor.poll(jobs)
        self._asked_at = self._clock()
        self._interval = min(max(2 * self._interval, 1.0), self._poll_s)

    def _result(self, pending: Pending) -> Result | None:
        try:
            # Listing makes an NFS client ask the server; a mere look-up may be answered from its cache.
            there = any(entry.name == RESULT for entry in os.scandir(pending.directory))
            text = (pending.directory / RESULT).read_text(encoding="utf-8") if there else None
        except OSError as error:
            self._unreadable(pending.directory, error)
            return None
        except UnicodeDecodeError:
            text = ""
        self._unreadable_since.pop(pending.directory, None)
        return None if text is None else _parsed(text, pending, self._metrics)

    def _without_result(self, pending: Pending) -> Result:
        state = self.states[pending.job]
        failure = Failure.LOST if state.state is State.LOST else state.failure
        said = " ".join(part for part in (state.word, state.reason) if part)
        message = f"job {pending.job} ended and left no result"
        message += f" ({said})" if said else ""
        if said_last := tail(pending.directory / LOG, self._executor.log(pending.job, pending.logs)):
            message += f"; its log ends: {said_last}"
        if shutil.disk_usage(pending.directory).free < LEAST_FREE_BYTES:
            failure = Failure.DISK_FULL
            message = f"no space is left on {pending.directory}: {message}"
        return failed(pending, failure, message, host=state.host, started_at=_claimed_at(pending))

    def _unreadable(self, directory: Path, error: OSError) -> None:
        if directory not in self._unreadable_since:
            self._unreadable_since[directory] = self._clock()
            self._say(f"{directory}: cannot be read, looking again: {error.strerror}")
        if self._clock() - self._unreadable_since[directory] >= self._patience_s:
            raise StudyStopped(
                f"{directory}: cannot be read: {error.strerror}; is the shared filesystem there? "
                "Nothing is lost: when it is back, `orchestrator resume RUN`"
            ) from error


def stuck(pending: Pending, state: JobState) -> str:
    """What to say of a job that waits for what never comes."""
    said = " ".join(part for part in (state.word, state.reason) if part)
    return f"trial {pending.trial}: job {pending.job} will not start ({said}): {state.remedy}"


def _parsed(text: str, pending: Pending, metrics: Sequence[str]) -> Result:
    try:
        evaluation = Result.model_validate(json.loads(text))
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return failed(pending, Failure.BAD_RESULT, f"result.json is no evaluation: {what}")
    except ValueError as error:
        return failed(pending, Failure.BAD_RESULT, f"result.json is no JSON: {error}")
    if (evaluation.trial, evaluation.attempt) != (pending.trial, pending.attempt):
        other = f"result.json is of trial {evaluation.trial}, attempt {evaluation.attempt}"
        return failed(pending, Failure.BAD_RESULT, other)
    if evaluation.outcome is Outcome.OK and metrics[0] not in evaluation.metrics:  # the objective
        there = ", ".join(sorted(evaluation.metrics)) or "none"
        return failed(pending, Failure.BAD_RESULT, f"the result lacks {metrics[0]}; it has: {there}")
    return evaluation


def _claimed_at(pending: Pending) -> float | None:
    """When the job started, as its claim says; None if it never did."""
    try:
        said = json.loads((pending.directory / CLAIM).read_text())
        return float(said["started_at"]) if said["job"] == pending.job else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def failed(
    pending: Pending, failure: Failure, message: str, host: str = "", started_at: float | None = None
) -> Result:
    """Return the outcome of an attempt that has no result of its own, or none that can be used.

    Args:
        pending: the attempt.
        failure: its class.
        message: for people.
        host: where its job ran.
        started_at: when it did, seconds since the epoch.
    """
    return Result(
        outcome=Outcome.FAILED,
        failure=failure,
        message=message,
        trial=pending.trial,
        attempt=pending.attempt,
        job=pending.job,
        host=host,
        started_at=started_at,
    )
