"""Who is master of a run: the lock of its process, and the link of its chain of jobs."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Self

import filelock

from orchestrator.contract import publish
from orchestrator.contract.files import dumps
from orchestrator.errors import Held, StudyStopped
from orchestrator.record.directory import HEARTBEAT_S, MasterProcess, RunDirectory, clock_text


class MasterLock:
    """At most one master a run.

    Locks on shared mounts may be no locks at all, silently. So `master.json` also names the holder, and a
    holder on another host is never pushed aside by age: taking over is somebody's explicit act.
    """

    def __init__(
        self,
        run: RunDirectory,
        *,
        take_over: bool = False,
        job: str = "",
        is_over: Callable[[MasterProcess], bool] = lambda _: False,
    ) -> None:
        """Args:
        run: whose.
        take_over: a person says that the holder on another host is gone.
        job: the scheduler's id of this master, if it is a job.
        is_over: says of a holder on another host whether it is known to be gone for good.
        """
        self._run = run
        self._me = MasterProcess.current(job)
        self._take_over, self._is_over = take_over, is_over
        self._lock = filelock.FileLock(run.path / "master.lock", timeout=0)
        self._beat = 0.0

    def __enter__(self) -> Self:
        """Raises: Held: another master has the run, or may have it."""
        holder = self._run.master()
        if holder is not None and holder != self._me:
            if holder.alive:
                raise self._held(holder)
            if not holder.here and not self._take_over and not self._is_over(holder):
                raise Held(
                    f"{self._run.path}: a master on another host may still run this study: {holder}, "
                    f"last seen alive {clock_text(self._run.heard_at)}. If it is gone for sure (look there), "
                    "say so once with `--take-over`",
                    at_work=self._run.master_is_running(),
                )
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise self._held(holder) from None
        publish(self._run.master_file, dumps(asdict(self._me)))
        return self

    def _held(self, holder: MasterProcess | None) -> Held:
        who = holder or "its name is not written yet"
        return Held(f"{self._run.path}: a master runs this study already: {who}", at_work=True)

    def beat(self) -> None:
        """Show readers on other hosts that the master lives.

        Raises:
            StudyStopped: another master has taken over.
        """
        if time.monotonic() - self._beat < HEARTBEAT_S:
            return
        self._beat = time.monotonic()
        with contextlib.suppress(OSError):  # a filesystem that is away is the gatherer's to judge
            os.utime(self._run.master_file)
            if (holder := self._run.master()) != self._me:
                raise StudyStopped(f"{self._run.path}: another master has taken over: {holder}")

    def __exit__(self, *_: object) -> None:
        if self._run.master() == self._me:  # nobody on another host has taken over
            self._run.master_file.unlink(missing_ok=True)
        self._lock.release()


@dataclass(frozen=True)
class Link:
    """The newest link of a chain: the content of `master-job.json`.

    Attributes:
        number: 1, 2, … over all chains of the run.
        job: the scheduler's id; None: being submitted; "": the chain has ended.
        fruitless: how many links in a row, those before its predecessor, died with nothing done.
        records: of the ledger, when its predecessor started.
        in_order: its predecessor ended by itself, or has none.
    """

    number: int
    job: str | None
    fruitless: int = 0
    records: int = 0
    in_order: bool = True

    @classmethod
    def newest(cls, run: RunDirectory) -> Link | None:
        """The run's; None if its master never was a job."""
        try:
            return cls(**json.loads(run.master_job_file.read_text()))
        except FileNotFoundError:
            return None


def is_resumed(run: RunDirectory) -> bool:
    """Whether a master is there, or its job waits; the ledger says so only once it has begun."""
    link = Link.newest(run)
    return run.master_is_running() or (link is not None and link.job != "")
