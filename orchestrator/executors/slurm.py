"""Jobs of a SLURM cluster: one array per submission, its script by submitit, its states by our own table."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from orchestrator.errors import OrchestratorError, SchedulerError
from orchestrator.executors import slurm_script, submission
from orchestrator.executors.base import Executor, JobState, Resources, State
from orchestrator.executors.call import EVALUATE
from orchestrator.executors.command import answer
from orchestrator.executors.slurm_states import (
    ACCOUNT_FORMAT,
    PROVISIONAL,
    QUEUE_FORMAT,
    Row,
    account_rows,
    queue_rows,
)
from orchestrator.trial import Failure

_TRACELESS_S = 120.0  # SLURM remembers an ended job for MinJobAge, 300 s unless the site says less
_SETTLE_S = 30.0  # a provisional word that stays so long is the last one
_ACCOUNTING_PAUSE_S = 300.0  # before accounting that failed is asked again
_IN_FLIGHT_S = 60.0
_LATE_S = 2.0  # for a controller to list a job whose submission it has just read


class SlurmExecutor(Executor):
    """See the contract.

    Args:
        resources: of one evaluation. An evaluation is one process, on the first of its hosts.
        entry: "module:function", called on a host with the attempt's directory.
        prefix: of this study's tokens. A job of another name is not ours, though its id may be: ids return.
        answer_s: seconds a query may take.
        submit_s: seconds sbatch may take. A busy controller needs its time, and an sbatch that is killed may
            have had its effect.
        grace_s: seconds after which a job that neither queue nor accounting knows is lost.
        clock: seconds; passed in for tests.
    """

    def __init__(
        self,
        resources: Resources,
        entry: str = EVALUATE,
        *,
        prefix: str = "",
        answer_s: float = 20.0,
        submit_s: float = 60.0,
        grace_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.resources = resources
        self._entry = entry
        self._prefix = prefix
        self._answer_s = answer_s
        self._submit_s = submit_s
        self._grace_s = grace_s
        self._clock = clock
        self._options = slurm_script.options(resources)
        self._ended: dict[str, JobState] = {}
        self._since: dict[str, tuple[str, float]] = {}  # job -> its word, and when it was first seen with it
        self._pending_at: dict[str, float] = {}  # job -> when it was last seen waiting
        self._accounting_again = -math.inf
        self._unanswered = False

    def submit(self, attempts: Sequence[Path], token: str, folder: Path) -> list[str]:
        """Submit one array; ids are "ARRAY_INDEX"."""
        text = self.preview(attempts, token, folder)
        submission.write_pickles(attempts, folder, self._entry, self.resources.walltime_min)
        script = folder / f"{token}.sh"
        script.write_text(text, encoding="utf-8")
        try:
            said = self._answer(["sbatch", "--parsable", str(script)], self._submit_s)
        except SchedulerError:
            self._unanswered = True  # also when it failed: "socket timed out" is a failure with an effect
            raise
        array = re.match(r"(\d+)(;|\s|$)", said.strip())
        if array is None:
            self._unanswered = True
            raise SchedulerError(f"sbatch did not tell the job's id: {said.strip()!r}")
        return [f"{array[1]}_{index}" for index in range(len(attempts))]

    def preview(self, attempts: Sequence[Path], token: str, folder: Path) -> str:
        """The batch script."""
        return slurm_script.script(self.resources, token, folder, len(attempts))

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
        return {job: self._judged(job, rows.get(job)) for job in jobs}

    def _judged(self, job: str, row: Row | None) -> JobState:
        if row is None and job in self._ended:
            return self._ended[job]
        word = "" if row is None else row.word
        seen_word, since = self._since.get(job, (None, 0.0))
        if seen_word != word:
            since = self._clock()
            self._since[job] = word, since
        for_s = self._clock() - since
        if row is None:
            return self._missing(job, since, for_s)
        state = row.state
        if row.word in PROVISIONAL and not row.settled and for_s < _SETTLE_S:
            return JobState(State.UNKNOWN, word=row.word, reason="may be requeued", host=row.hosts)
        if state.state is State.PENDING:
            self._pending_at[job] = self._clock()
        if state.state is State.ENDED:
            self._ended[job] = state
        return state

    def _missing(self, job: str, since: float, for_s: float) -> JobState:
        if for_s < self._grace_s:
            return JobState(State.UNKNOWN, reason="neither squeue nor sacct lists it")
        # An element of an array that is cancelled before it starts leaves no trace; one that started stays in
        # the queue for minutes after its end.
        if since - self._pending_at.get(job, -math.inf) < _TRACELESS_S:
            return JobState(
                State.ENDED, word="CANCELLED", reason="gone before it started", failure=Failure.CANCELLED
            )
        return JobState(State.LOST, reason="neither squeue nor sacct lists it")

    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel those of the jobs that the queue still holds under one of our names."""
        rows = self._queue()
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
        found: dict[str, list[tuple[int, int]]] = {}
        for row in rows.values():
            if row.name.startswith(prefix) and (parts := re.fullmatch(r"(\d+)_(\d+)", row.id)):
                over = row.state.state is State.ENDED and row.word not in PROVISIONAL
                if not over:
                    found.setdefault(row.name, []).append((int(parts[1]), int(parts[2])))
        return {token: [f"{array}_{index}" for array, index in sorted(ids)] for token, ids in found.items()}

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

    def _answer(self, argv: Sequence[str], timeout_s: float) -> str:
        return answer(argv, timeout_s, _environment(self._options))


def _in_flight(prefix: str) -> int | None:
    """Process id of an sbatch on this host that submits one of our scripts."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            names = [Path(argument).name for argument in process.cmdline()]
            if "sbatch" in names and any(name.startswith(prefix) and name.endswith(".sh") for name in names):
                return process.pid
    return None


def _environment(options: Mapping[str, object]) -> dict[str, str]:
    """The environment without variables that change what SLURM's commands do or answer.

    They are set where a master runs inside a job, or by a user for his own convenience: SBATCH_JOB_NAME would
    beat the script's. Those that say whom to charge are kept unless the profile says it.
    """
    kept = {"SLURM_CONF", "SLURM_CLUSTERS"}
    kept |= {f"SBATCH_{name.upper()}" for name in ("account", "partition", "qos") if name not in options}
    ours = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SQUEUE_", "SACCT_", "SCANCEL_", "SUBMITIT_")
    return {name: value for name, value in os.environ.items() if name in kept or not name.startswith(ours)}
