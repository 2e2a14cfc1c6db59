"""Jobs of a SLURM cluster: one array per submission, its script by submitit, its states by our own table."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from orchestrator.contract import Failure
from orchestrator.errors import OrchestratorError, Refused, SchedulerError
from orchestrator.executors.base import JobState, Overrides, Resources, State
from orchestrator.executors.batch import BatchExecutor
from orchestrator.executors.call import EVALUATE
from orchestrator.executors.command import answer
from orchestrator.executors.slurm import script as slurm_script
from orchestrator.executors.slurm.sbatch import sbatch
from orchestrator.executors.slurm.states import (
    ACCOUNT_FORMAT,
    PREEMPTION_FORMAT,
    PROVISIONAL,
    QUEUE_FORMAT,
    Row,
    account_rows,
    preempted_jobs,
    queue_rows,
    requeued_hosts,
)
from orchestrator.executors.slurm.variables import passed_on

_TRACELESS_S = 120.0  # SLURM remembers an ended job for MinJobAge, 300 s unless the site says less
_GONE_S = 5.0  # a job that waited and is listed no more so long was cancelled
_ACCOUNTING_PAUSE_S = 300.0  # before accounting that failed is asked again
_IN_FLIGHT_S = 60.0
_LATE_S = 2.0  # for a controller to list a job whose submission it has just read


class SlurmExecutor(BatchExecutor):
    """See `BatchExecutor`. The ids of an array are "ARRAY_INDEX"."""

    def __init__(self, resources: Resources, entry: str = EVALUATE, **settings: Any) -> None:
        super().__init__(resources, entry, **settings)
        self._options = slurm_script.options(resources)
        self._pending_at: dict[str, float] = {}  # job -> when it was last seen waiting
        self._accounting_again = -math.inf
        self._unanswered = False

    def _array_script(self, token: str, folder: Path, count: int, overrides: Overrides) -> str:
        return slurm_script.script(self.resources, token, folder, count, overrides)

    def _submit_array(self, text: str, token: str, folder: Path, count: int) -> list[str]:
        array = self._sbatch(text, token, folder)
        return [f"{array}_{index}" for index in range(count)]

    def submit_command(
        self, argv: Sequence[str], token: str, folder: Path, *, walltime_min: float, after: str | None
    ) -> str:
        """See the contract; the id is that of a job without an array. SLURM does not requeue it."""
        text = slurm_script.command_script(
            self.resources, argv, token, folder, minutes=walltime_min, after=after
        )
        return self._sbatch(text, token, folder)

    def _sbatch(self, text: str, token: str, folder: Path) -> str:
        script = folder / f"{token}.sh"
        script.write_text(text, encoding="utf-8")
        try:
            return sbatch(script, self._submit_s, passed_on(os.environ, self._options))
        except Refused:
            raise
        except SchedulerError:
            self._unanswered = True  # also when it failed: "socket timed out" is a failure with an effect
            raise

    def poll(self, jobs: Sequence[str]) -> dict[str, JobState]:
        """See the contract: squeue for all jobs at once, and sacct for what has left the queue."""
        try:
            rows = self._queue()
        except OrchestratorError as error:
            return dict.fromkeys(jobs, JobState(State.UNKNOWN, reason=str(error)))
        # What is left of an array when its last waiting elements were cancelled: one row, with no index.
        rows |= {
            job: rows[array] for job in jobs if job not in rows and (array := job.partition("_")[0]) in rows
        }
        rows |= self._accounts([job for job in jobs if job not in rows and job not in self._ended])
        preempted = self._preempted([job for job in jobs if job in rows and job not in self._ended], rows)
        unstarted = [job for job in jobs if job in rows and rows[job].state.launch_failed]
        rows |= {job: replace(rows[job], hosts=host) for job, host in self._last_hosts(unstarted).items()}
        return {job: self._judged(job, rows.get(job), job in preempted) for job in jobs}

    def _judged(self, job: str, row: Row | None, preempted: bool) -> JobState:
        if job in self._ended and (row is None or row.word == self._ended[job].word):
            return self._ended[job]
        self._ended.pop(job, None)  # by hand, an ended job can be requeued
        word = "" if row is None else row.word
        since = self._since(job, word)
        for_s = self._clock() - since
        if row is None:
            return self._missing(job, since, for_s)
        state = row.state
        if not row.settled and for_s < PROVISIONAL.get(row.word, 0.0):
            return JobState(
                State.UNKNOWN, word=row.word, reason="may be requeued", host=row.hosts, provisional=True
            )
        if state.state is State.PENDING:
            self._pending_at[job] = self._clock()
        if preempted:
            state = replace(state, reason="preempted", failure=Failure.PREEMPTED)
        if state.state is State.ENDED:
            self._ended[job] = state
        return state

    def _missing(self, job: str, since: float, for_s: float) -> JobState:
        # An element of an array that is cancelled before it starts leaves no trace; one that started stays in
        # the queue for minutes after its end.
        traceless = since - self._pending_at.get(job, -math.inf) < _TRACELESS_S
        if for_s < (min(_GONE_S, self._grace_s) if traceless else self._grace_s):
            return JobState(State.UNKNOWN, reason="neither squeue nor sacct lists it", provisional=True)
        if traceless:
            return JobState(
                State.ENDED, word="CANCELLED", reason="gone before it started", failure=Failure.CANCELLED
            )
        return JobState(State.LOST, reason="neither squeue nor sacct lists it")

    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel those of the jobs that the queue still holds under one of our names."""
        rows = self._queue() if jobs else {}
        alive = [job for job in jobs if job in rows and rows[job].state.state is not State.ENDED]
        if not alive:
            return
        try:
            self._answer(["scancel", *alive], self._answer_s)
        except SchedulerError as error:
            # A job that ended since the question is no failure.
            if not re.search(r"already (completing|completed)|Invalid job id", str(error)):
                raise

    def find(self, prefix: str) -> dict[str, list[str]]:
        """See the contract. In flight is an sbatch process of this host with one of our scripts."""
        self._await_submissions(prefix)
        rows = self._queue()
        if self._unanswered:
            # The controller may have read the question before a submission that came earlier.
            time.sleep(_LATE_S)
            rows = self._queue()
            self._unanswered = False
        found: dict[str, list[str]] = {}
        for row in rows.values():
            over = row.state.state is State.ENDED and row.word not in PROVISIONAL
            if row.name.startswith(prefix) and not over and re.fullmatch(r"\d+(_\d+)?", row.id):
                found.setdefault(row.name, []).append(row.id)
        return {token: sorted(ids, key=_in_order) for token, ids in found.items()}

    def _await_submissions(self, prefix: str) -> None:
        deadline = time.monotonic() + _IN_FLIGHT_S
        while (submitting := _in_flight(prefix)) is not None:
            if time.monotonic() > deadline:
                raise SchedulerError(
                    f"sbatch is still submitting (process {submitting}): ask again when it is done"
                )
            self._unanswered = True
            time.sleep(0.1)

    def _queue(self) -> dict[str, Row]:
        argv = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}"]
        rows = queue_rows(self._answer([*argv, f"--format={QUEUE_FORMAT}"], self._answer_s))
        return {job: row for job, row in rows.items() if row.name.startswith(self._prefix)}

    def _preempted(self, jobs: Sequence[str], rows: Mapping[str, Row]) -> set[str]:
        """Of these, the jobs that ended by themselves when SLURM told them that it takes their host away.

        Where preemption leaves a grace time, that is how most of them end, and SLURM's word is FAILED.
        """
        ended = [
            job for job in jobs if (s := rows[job].state).state is State.ENDED and s.failure is Failure.KILLED
        ]
        if not ended:
            return set()
        argv = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(ended)}"]
        with suppress(OrchestratorError):
            return preempted_jobs(self._answer([*argv, f"--Format={PREEMPTION_FORMAT}"], self._answer_s))
        return set()

    def _accounts(self, jobs: Sequence[str]) -> Mapping[str, Row]:
        """Ended jobs that accounting knows. Where it is off, slow or broken we do without it."""
        if not jobs or self._clock() < self._accounting_again:
            return {}
        arrays = ",".join(sorted({job.partition("_")[0] for job in jobs}))
        argv = ["sacct", "--noheader", "--allocations", "--parsable2", f"--jobs={arrays}"]
        try:
            rows = account_rows(self._answer([*argv, f"--format={ACCOUNT_FORMAT}"], self._answer_s))
        except OrchestratorError as error:
            off = "accounting storage is disabled" in str(error)
            self._accounting_again = math.inf if off else self._clock() + _ACCOUNTING_PAUSE_S
            return {}
        return {job: rows[job] for job in jobs if job in rows and rows[job].name.startswith(self._prefix)}

    def _last_hosts(self, jobs: Sequence[str]) -> Mapping[str, str]:
        """The hosts that could not start these jobs: squeue does not tell, and accounting may be off."""
        if not jobs or self._clock() < self._accounting_again:
            return {}
        argv = [
            "sacct",
            "--duplicates",
            "--noheader",
            "--allocations",
            "--parsable2",
            f"--jobs={','.join(jobs)}",
        ]
        with suppress(OrchestratorError):
            text = self._answer([*argv, f"--format={ACCOUNT_FORMAT}"], self._answer_s)
            return {job: host for job, host in requeued_hosts(text).items() if job in jobs}
        return {}

    def _answer(self, argv: Sequence[str], timeout_s: float) -> str:
        return answer(argv, timeout_s, passed_on(os.environ, self._options))


def _in_order(job: str) -> list[int]:
    return [int(part) for part in job.split("_")]


def _in_flight(prefix: str) -> int | None:
    """Process id of an sbatch on this host that submits one of our scripts."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            names = [Path(argument).name for argument in process.cmdline()]
            if "sbatch" in names and any(name.startswith(prefix) and name.endswith(".sh") for name in names):
                return process.pid
    return None
