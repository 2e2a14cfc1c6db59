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

from orchestrator.errors import StudyStopped
from orchestrator.executors.base import Executor, JobState, State
from orchestrator.trial import Evaluation, Failure, Outcome

LOG_TAIL_LINES = 5
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor = executor
        self._metrics = metrics
        self._poll_s = poll_s
        self._grace_s = grace_s
        self._patience_s = patience_s
        self._say = say
        self._clock = clock
        self._interval = 0.0  # to the next question; short after a submission, then growing to poll_s
        self._asked_at = -float("inf")
        self._over_since: dict[str, float] = {}  # job -> when it was first seen over without a result
        self._unreadable_since: dict[Path, float] = {}
        self.states: dict[str, JobState] = {}

    def expect_soon(self) -> None:
        """Ask the scheduler soon: something was submitted."""
        self._interval = min(1.0, self._poll_s)

    def step(self, pending: Sequence[Pending]) -> list[Evaluation]:
        """One look: the evaluations of those that are settled now.

        Raises:
            StudyStopped: an attempt's directory has not been readable for `patience_s`.
        """
        settled = {p.job: e for p in pending if (e := self._result(p)) is not None}
        waiting = [p for p in pending if p.job not in settled]
        since = [self._over_since[p.job] for p in waiting if p.job in self._over_since]
        grace_ends = any(self._clock() - s >= self._grace_s > self._asked_at - s for s in since)
        if waiting and (grace_ends or self._clock() - self._asked_at >= self._interval):
            self._ask([p.job for p in waiting])
        for p in waiting:
            state = self.states.get(p.job)
            over = state is not None and state.state in (State.ENDED, State.LOST)
            if not over or p.directory in self._unreadable_since:  # there may be a result that we cannot see
                self._over_since.pop(p.job, None)
            # The scheduler must have said so at both ends of the grace period: a requeue may lie between.
            elif self._asked_at - self._over_since.setdefault(p.job, self._clock()) >= self._grace_s:
                result = self._result(p)  # it may have come since the look above
                if p.directory not in self._unreadable_since:
                    settled[p.job] = result or self._without_result(p)
        return list(settled.values())

    def _ask(self, jobs: Sequence[str]) -> None:
        self.states.update(self._executor.poll(jobs))
        self._asked_at = self._clock()
        self._interval = min(max(2 * self._interval, 1.0), self._poll_s)

    def _result(self, pending: Pending) -> Evaluation | None:
        try:
            # Listing makes an NFS client ask the server; a mere look-up may be answered from its cache.
            there = any(entry.name == "result.json" for entry in os.scandir(pending.directory))
            text = (pending.directory / "result.json").read_text(encoding="utf-8") if there else None
        except OSError as error:
            self._unreadable(pending.directory, error)
            return None
        except UnicodeDecodeError:
            text = ""
        self._unreadable_since.pop(pending.directory, None)
        return None if text is None else _parsed(text, pending, self._metrics)

    def _without_result(self, pending: Pending) -> Evaluation:
        state = self.states[pending.job]
        failure = Failure.LOST if state.state is State.LOST else state.failure
        said = " ".join(part for part in (state.word, state.reason) if part)
        message = f"job {pending.job} ended and left no result"
        message += f" ({said})" if said else ""
        if tail := _tail(pending.directory / "log.out", self._executor.log(pending.job, pending.logs)):
            message += f"; its log ends: {tail}"
        if shutil.disk_usage(pending.directory).free < LEAST_FREE_BYTES:
            failure = Failure.DISK_FULL
            message = f"no space is left on {pending.directory}: {message}"
        return _failed(pending, failure, message, host=state.host)

    def _unreadable(self, directory: Path, error: OSError) -> None:
        if directory not in self._unreadable_since:
            self._unreadable_since[directory] = self._clock()
            self._say(f"{directory}: cannot be read, looking again: {error.strerror}")
        if self._clock() - self._unreadable_since[directory] >= self._patience_s:
            raise StudyStopped(
                f"{directory}: cannot be read: {error.strerror}; is the shared filesystem there? "
                "Nothing is lost: when it is back, `orchestrator resume RUN`"
            ) from error


def _parsed(text: str, pending: Pending, metrics: Sequence[str]) -> Evaluation:
    try:
        evaluation = Evaluation.model_validate(json.loads(text))
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return _failed(pending, Failure.BAD_RESULT, f"result.json is no evaluation: {what}")
    except ValueError as error:
        return _failed(pending, Failure.BAD_RESULT, f"result.json is no JSON: {error}")
    if (evaluation.trial, evaluation.attempt) != (pending.trial, pending.attempt):
        other = f"result.json is of trial {evaluation.trial}, attempt {evaluation.attempt}"
        return _failed(pending, Failure.BAD_RESULT, other)
    missing = [name for name in metrics if name not in evaluation.metrics]
    if evaluation.outcome is Outcome.OK and missing:
        there = ", ".join(sorted(evaluation.metrics)) or "none"
        return _failed(pending, Failure.BAD_RESULT, f"the result lacks {', '.join(missing)}; it has: {there}")
    return evaluation


def _tail(*logs: Path) -> str:
    """The last lines of the attempt's own log, or else of the scheduler's for its job."""
    for log in logs:
        try:
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - 4096))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            continue
        if lines:
            return " | ".join(line.strip() for line in lines[-LOG_TAIL_LINES:])
    return ""


def _failed(pending: Pending, failure: Failure, message: str, host: str = "") -> Evaluation:
    return Evaluation(
        outcome=Outcome.FAILED,
        failure=failure,
        message=message,
        trial=pending.trial,
        attempt=pending.attempt,
        job=pending.job,
        host=host,
    )
