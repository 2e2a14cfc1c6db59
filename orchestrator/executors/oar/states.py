"""What OAR says of jobs, and what that means: rows of `oarstat -J -f`, its state words, its events.

The words are those of OAR 2.5. How a job ended is in its events, not in its word: `Error` is a wall-time, a
deletion, a preemption or a broken host, and `Terminated` any exit code of the job's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.contract import Failure
from orchestrator.errors import SchedulerError
from orchestrator.executors.base import JobState, State

_STATES = {
    "Waiting": State.PENDING,
    "Hold": State.PENDING,
    "toAckReservation": State.PENDING,
    "toLaunch": State.PENDING,
    "Launching": State.PENDING,  # its hosts are being prepared; OAR may still take another
    "Running": State.RUNNING,
    "Suspended": State.RUNNING,  # SIGSTOP, and goes on later
    "Resuming": State.RUNNING,
    "Finishing": State.RUNNING,  # its processes may still write
    "Terminated": State.ENDED,
    "Error": State.ENDED,
}
# About to be `Error`, its events still to come. The words last for seconds.
_PASSING = ("toError",)

# Why OAR ended a job, the first that is found counting: an exterminated job has the event WALLTIME too.
_FAILURES = {
    "EXTERMINATE_JOB": Failure.HOST_FAULT,  # the host did not answer when the job was to be killed
    "BESTEFFORT_KILL": Failure.PREEMPTED,
    "WALLTIME": Failure.WALLTIME,
    "WORKING_DIRECTORY": Failure.HOST_FAULT,  # the host has no run directory
    "OUTPUT_FILES": Failure.HOST_FAULT,  # … or it cannot write there
    "CANNOT_CREATE_TMP_DIRECTORY": Failure.HOST_FAULT,
    "CANNOT_WRITE_NODE_FILE": Failure.HOST_FAULT,
    "CANNOT_WRITE_PID_FILE": Failure.HOST_FAULT,
    "USER_SHELL": Failure.HOST_FAULT,
    "PROLOGUE_ERROR": Failure.HOST_FAULT,
    "CPUSET_ERROR": Failure.HOST_FAULT,
    "SUSPEND_ERROR": Failure.HOST_FAULT,
    "RESUME_ERROR": Failure.HOST_FAULT,
    "LAUNCHING_OAREXEC_TIMEOUT": Failure.HOST_FAULT,
    "SSH_TRANSFER_TIMEOUT": Failure.HOST_FAULT,
    "BAD_HASHTABLE_DUMP": Failure.HOST_FAULT,
    "EXIT_VALUE_OAREXEC": Failure.HOST_FAULT,
    "PING_CHECKER_NODE_SUSPECTED": Failure.HOST_FAULT,
    "SERVER_PROLOGUE_TIMEOUT": Failure.HOST_FAULT,
    "SERVER_PROLOGUE_EXIT_CODE_ERROR": Failure.HOST_FAULT,
    "SERVER_PROLOGUE_ERROR": Failure.HOST_FAULT,
}
# After these OAR submits a new job in the old one's place, whatever the job's types say, a moment later.
_RESUBMITTED = (
    "CANNOT_CREATE_TMP_DIRECTORY",
    "CANNOT_WRITE_NODE_FILE",
    "CANNOT_WRITE_PID_FILE",
    "CPUSET_ERROR",
    "LAUNCHING_OAREXEC_TIMEOUT",
    "PING_CHECKER_NODE_SUSPECTED",
    "PROLOGUE_ERROR",
    "SERVER_PROLOGUE_ERROR",
    "SERVER_PROLOGUE_EXIT_CODE_ERROR",
    "SERVER_PROLOGUE_TIMEOUT",
    "USER_SHELL",
)
_NEW_JOB = re.compile(r"=> (\d+)")
_DELETED_BY = re.compile(r"User (\S+) requested to frag")


@dataclass(frozen=True, slots=True)
class Row:
    """A job as oarstat lists it; `events` by type, the last of each."""

    id: str
    word: str
    name: str
    owner: str
    hosts: tuple[str, ...]
    message: str
    exit_code: int | None  # as wait(2) gives it: 768 is exit(3), 9 is SIGKILL
    started_at: float  # seconds since the epoch on the server's clock; 0: not yet
    stopped_at: float
    events: Mapping[str, str]

    @property
    def successor(self) -> str | None:
        """Id of the job that OAR itself submitted in place of this one."""
        found = _NEW_JOB.search(self.events.get("RESUBMIT_JOB_AUTOMATICALLY", ""))
        return found[1] if found else None

    @property
    def provisional(self) -> bool:
        """True while OAR is about to say more: why the job ended, or which job comes in its place."""
        if self.word in _PASSING:
            return True
        return self.word == "Error" and any(event in self.events for event in _RESUBMITTED)

    def state(self, now: float) -> JobState:
        """The state, as if nothing were provisional; `now` in seconds since the epoch."""
        failure, reason = self._end()
        until = self.stopped_at or now
        return JobState(
            state=_STATES.get(self.word, State.UNKNOWN),
            word=self.word,
            reason=reason,
            host=",".join(self.hosts),
            failure=failure,
            running_s=max(0.0, until - self.started_at) if self.started_at else None,
            remedy=self._remedy(),
        )

    def _end(self) -> tuple[Failure, str]:
        if self.word == "Terminated":
            return Failure.KILLED, _exit(self.exit_code)  # without a result file it was not its own end
        if self.word != "Error":
            return Failure.KILLED, self.message
        for event, failure in _FAILURES.items():
            if event in self.events:
                return failure, f"{event}: {self.events[event]}"
        if deleted := _DELETED_BY.search(said := self.events.get("FRAG_JOB_REQUEST", "")):
            # OAR itself deletes the jobs of a host that is set Dead, in the name of who set it.
            return Failure.CANCELLED if deleted[1] == self.owner else Failure.HOST_FAULT, said
        return Failure.KILLED, self.message

    def _remedy(self) -> str:
        if self.word == "Hold":
            return f"`oarresume {self.id}` lets it start, `oardel {self.id}` gives it up"
        if self.word == "Waiting" and "no_matching_slot" in self.message:
            return "no hosts that are up have it: lower hosts or gpus, change options.property, or wait"
        if self.word == "Waiting" and "does not exist" in self.message:
            return f"`oardel {self.id}`, and change options.type"
        return ""


def rows(text: str) -> dict[str, Row]:
    """Rows of `oarstat -J -f` by job id; it says nothing at all where there is no job to tell of.

    Raises:
        SchedulerError: it is not what oarstat writes.
    """
    try:
        jobs = json.loads(text) if text.strip() else {}
        return {str(job): _row(str(job), said) for job, said in jobs.items()}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise SchedulerError(f"oarstat's answer cannot be read ({error!r}): {text[:200]!r}") from error


def _row(job: str, said: Mapping[str, Any]) -> Row:
    code = said.get("exit_code")
    return Row(
        id=job,
        word=str(said["state"]),
        name=str(said.get("name") or ""),
        owner=str(said.get("owner") or ""),
        hosts=tuple(said.get("assigned_network_address") or ()),
        message=str(said.get("message") or "").strip(),
        exit_code=None if code is None else int(code),
        started_at=float(said.get("startTime") or 0),
        stopped_at=float(said.get("stopTime") or 0),
        events={str(event["type"]): str(event["description"]).strip() for event in said.get("events") or ()},
    )


def _exit(code: int | None) -> str:
    if code is None:
        return ""
    return f"killed by signal {code & 127}" if code & 127 else f"exit code {code >> 8}"
