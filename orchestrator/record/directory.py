"""The run directory of a study on the shared filesystem, and the lock that gives it one master.

runs/<study>/
    study.toml  profile.toml   as they were at launch
    ledger.jsonl               the record of the study; the only truth
    master.json  master.lock   who runs it
    master-job.json            the job that goes on as the master next, where masters are jobs
    master.log                 what a detached master said, or one that is a job
    cancel                     present: the master is asked to cancel the study
    trials/0042/attempt-1/     trial.json, result.json, log.out of each attempt
    trials/0042/checkpoint/    what training has reached; its adapter, where that is kept
    requests/                  what `enqueue` asks of the master
    jobs/<token>/              the scheduler's scripts and logs of one submission
    report/                    what `orchestrator report` wrote
    exports/                   what `orchestrator export` wrote
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from orchestrator.contract.attempt import ADAPTER, CHECKPOINT, COPIES
from orchestrator.errors import InputError

HEARTBEAT_S = 10.0


@dataclass(frozen=True)
class MasterProcess:
    """The process that runs a study: enough to recognise it, and to tell it from a later one of its pid."""

    host: str
    pid: int
    started_at: float  # the process's start, seconds since the epoch
    job: str = ""  # the scheduler's id, of a master that is a job

    @classmethod
    def current(cls, job: str = "") -> MasterProcess:
        """Return this process, which is that job of the scheduler's if it is one."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, psutil.Process(pid).create_time(), job)

    @property
    def here(self) -> bool:
        """True if it is a process of this host."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """True if it runs on this host; of another host nothing can be known."""
        try:
            return self.here and abs(psutil.Process(self.pid).create_time() - self.started_at) < 1
        except psutil.NoSuchProcess:
            return False

    def __str__(self) -> str:
        since = clock_text(self.started_at)
        return f"host {self.host}, pid {self.pid}, since {since}" + (f", job {self.job}" if self.job else "")


@dataclass(frozen=True)
class RunDirectory:
    """Where the files of a run are."""

    path: Path

    @classmethod
    def find(cls, name: str, runs: Path) -> RunDirectory:
        """The run of that path, or else of that study's name below `runs`.

        Raises:
            InputError: neither holds a ledger.
        """
        paths = list(dict.fromkeys((Path(name).expanduser(), runs / name)))  # a whole path is both
        for path in paths:
            if (path / "ledger.jsonl").is_file():
                return cls(path.absolute())
        raise InputError(
            f"{name}: no run here: there is no {' and no '.join(f'{path}/ledger.jsonl' for path in paths)}; "
            "give the directory that `orchestrator launch` named"
        )

    @property
    def ledger(self) -> Path:
        """The record of the study."""
        return self.path / "ledger.jsonl"

    @property
    def study(self) -> Path:
        """The study file, as it was at launch."""
        return self.path / "study.toml"

    @property
    def profile(self) -> Path:
        """The profile, as it was at launch."""
        return self.path / "profile.toml"

    @property
    def cache(self) -> Path:
        """The shared cache beside the runs, wherever the master is started."""
        return self.path.parents[1] / "cache"

    @property
    def cancel_request(self) -> Path:
        """The file whose presence asks the master to cancel the study."""
        return self.path / "cancel"

    def cancel_is_requested(self) -> bool:
        """True if the master is asked to cancel the study."""
        return os.path.exists(self.cancel_request)  # noqa: PTH110 — no error while the filesystem is away

    @property
    def report(self) -> Path:
        """The folder that `orchestrator report` writes."""
        return self.path / "report"

    @property
    def log(self) -> Path:
        """What a detached master says, or one that is a job."""
        return self.path / "master.log"

    def attempt(self, trial: int, attempt: int) -> Path:
        """The directory of an attempt: see `contract.attempt` for its files."""
        return self.path / "trials" / f"{trial:04d}" / f"attempt-{attempt}"

    def copies(self, trial: int, attempt: int) -> list[dict[str, Any]]:
        """The processes that were at an attempt, in the order of their start: more than one if its job was
        requeued, perhaps while it still ran on a host that was cut off.
        """
        found = []
        for path in (self.attempt(trial, attempt) / COPIES).glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                found.append(json.loads(path.read_text()))
        return sorted(found, key=lambda copy: float(copy["started_at"]))

    def checkpoint(self, trial: int) -> Path:
        """What training has reached; all attempts of the trial share it."""
        return self.path / "trials" / f"{trial:04d}" / CHECKPOINT

    def adapter(self, trial: int) -> Path:
        """What a `litgpt` evaluation has trained."""
        return self.checkpoint(trial) / ADAPTER

    def jobs(self, token: str) -> Path:
        """The folder of one submission, for the scheduler's scripts and logs."""
        return self.path / "jobs" / token

    def export(self, trial: int, form: str) -> Path:
        """Where a trial's adapter is written in that form, if nobody says otherwise."""
        return self.path / "exports" / f"{trial:04d}-{form}"

    @property
    def master_file(self) -> Path:
        """Names the process that runs the study; its time is that of the last heartbeat."""
        return self.path / "master.json"

    def master(self) -> MasterProcess | None:
        """Who holds the run, as far as it is written down."""
        try:
            return MasterProcess(**json.loads(self.master_file.read_text()))
        except (FileNotFoundError, ValueError, TypeError):  # none, or not a master's writing
            return None

    def master_is_running(self) -> bool:
        """As well as can be told from here: by the process on its own host, by the heartbeat elsewhere."""
        if (master := self.master()) is None:
            return False
        return master.alive if master.here else time.time() - self.heard_at < 6 * HEARTBEAT_S

    @property
    def heard_at(self) -> float:
        """When the master's heart last beat, seconds since the epoch; 0: it left no trace."""
        try:
            return self.master_file.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    @property
    def master_job_file(self) -> Path:
        """Names the newest link of the chain of master's jobs."""
        return self.path / "master-job.json"


def clock_text(at: float) -> str:
    """Return a moment, in seconds since the epoch, as `2026-11-02 14:05:09` here."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
