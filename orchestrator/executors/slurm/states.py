"""What SLURM says of jobs, and what that means: rows of squeue and sacct, and the table of state words.

The words are those of JOB STATE CODES in squeue(1) and sacct(1) up to SLURM 24.05.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from orchestrator.contract import Failure
from orchestrator.executors.base import JobState, State
from orchestrator.executors.slurm.reasons import launch_failed, remedy

# The reason comes last but one, the name, where a user may have written anything, last.
QUEUE_FORMAT = "%i|%T|%M|%N|%r|%j"
PREEMPTION_FORMAT = "JobArrayID:64,StartTime:32,PreemptTime:32"
ACCOUNT_FORMAT = "JobID,State,ElapsedRaw,NodeList,ExitCode,JobName"

_PENDING = (
    "PENDING",
    "CONFIGURING",  # hosts are being booted for it
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",  # requeued and held
    "RESV_DEL_HOLD",
    "POWER_UP_NODE",
)
_RUNNING = (
    "RUNNING",
    "COMPLETING",  # its processes may still write
    "SIGNALING",
    "STAGE_OUT",
    "STOPPED",  # SIGSTOP, its cores kept
    "SUSPENDED",  # SIGSTOP, its cores given away for a time
    "RESIZING",
    "UPDATE_DB",
)
_ENDED = {
    "COMPLETED": Failure.KILLED,  # without a result file it was not the job's own end
    "FAILED": Failure.KILLED,
    "CANCELLED": Failure.CANCELLED,
    "TIMEOUT": Failure.WALLTIME,
    "DEADLINE": Failure.WALLTIME,
    "OUT_OF_MEMORY": Failure.OUT_OF_MEMORY,
    "LAUNCH_FAILED": Failure.HOST_FAULT,
    "RECONFIG_FAIL": Failure.HOST_FAULT,
    "NODE_FAIL": Failure.HOST_FAULT,
    "BOOT_FAIL": Failure.HOST_FAULT,
    "PREEMPTED": Failure.PREEMPTED,
    "REVOKED": Failure.LOST,  # another cluster of the federation runs it
}
# SLURM shows these for a time even if it then requeues the job: word -> seconds after which it is the last.
PROVISIONAL = MappingProxyType({"NODE_FAIL": 15.0, "BOOT_FAIL": 15.0, "PREEMPTED": 5.0})


@dataclass(frozen=True, slots=True)
class Row:
    """A job as squeue or sacct lists it; `settled`: it has left the queue, its word is the last."""

    id: str
    word: str
    seconds: float | None
    hosts: str
    reason: str
    name: str
    settled: bool = False

    @property
    def state(self) -> JobState:
        """The state, as if the word were not provisional."""
        ended, state = self.word in _ENDED, _state(self.word)
        return JobState(
            state=state,
            word=self.word,
            reason=self.reason,
            host=self.hosts,
            failure=_ENDED[self.word] if ended else Failure.KILLED,
            running_s=self.seconds,
            remedy=(remedy(self.reason) or remedy(self.word)) if state is State.PENDING else "",
            launch_failed=state is State.PENDING and launch_failed(self.reason),
        )


def _state(word: str) -> State:
    if word in _PENDING:
        return State.PENDING
    if word in _RUNNING:
        return State.RUNNING
    return State.ENDED if word in _ENDED else State.UNKNOWN


def queue_rows(text: str) -> dict[str, Row]:
    """Rows of `squeue --noheader --array --format=QUEUE_FORMAT` by job id."""
    rows = {}
    for line in text.splitlines():
        fields = line.split("|", 5)
        if len(fields) == 6:
            job, word, elapsed, hosts, reason, name = fields
            reason = "" if reason == "None" else reason
            rows[job] = Row(job, word, _seconds(elapsed), hosts, reason, name)
    return rows


def account_rows(text: str) -> dict[str, Row]:
    """Rows of ended jobs of `sacct --noheader --allocations --parsable2 --format=ACCOUNT_FORMAT` by job id.

    A job that left the queue and that accounting takes for running or waiting is one it has lost sight of.
    """
    rows = {}
    for line in text.splitlines():
        fields = line.split("|", 5)
        if len(fields) == 6:
            job, said, elapsed, hosts, code, name = fields
            word = said.split()[0] if said else ""  # "CANCELLED by 1000"
            if word in _ENDED:
                hosts = "" if hosts == "None assigned" else hosts
                rows[job] = Row(job, word, _seconds(elapsed), hosts, f"exit code {code}", name, settled=True)
    return rows


def requeued_hosts(text: str) -> dict[str, str]:
    """Job -> where it was last to start, of `sacct --duplicates`, else as for `account_rows`."""
    rows = (line.split("|", 5) for line in text.splitlines())
    return {row[0]: row[3] for row in rows if len(row) == 6 and row[1] == "REQUEUED" and " " not in row[3]}


def preempted_jobs(text: str) -> set[str]:
    """Jobs of `squeue --noheader --Format=PREEMPTION_FORMAT` that were preempted since their last start."""
    rows = (line.split() for line in text.splitlines())
    # Times are ISO 8601, or "N/A", which comes after every digit.
    return {row[0] for row in rows if len(row) == 3 and row[1] <= row[2] < "A"}


def _seconds(text: str) -> float | None:
    """Seconds of "[[D-]H:]M:S", or of a plain number."""
    days, _, clock = text.rpartition("-")
    try:
        seconds = 86400.0 * int(days or 0)
        for power, part in enumerate(reversed(clock.split(":"))):
            seconds += int(part) * 60**power
    except ValueError:
        return None
    return seconds
