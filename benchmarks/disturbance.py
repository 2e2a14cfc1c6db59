"""What goes wrong on a cluster, at random, and comes right again."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from tests.clusters import oar_machine
from tests.clusters.oar import ENDED, OarCluster
from tests.clusters.slurm import SlurmCluster, why_not

Fault = Callable[[], object]  # False: there was nothing that it could befall


class Disturbed(Protocol):
    """A cluster that faults befall."""

    shared: Path
    faults: Mapping[str, Fault]

    def calm(self) -> None:
        """Undo every fault."""

    def jobs_left(self) -> str:
        """What the scheduler says of jobs that are still there after a while; "" if there is none."""


class DisturbedSlurm:
    """Each fault lasts a few seconds at most: they follow one another, as far as the last one is over."""

    def __init__(self, cluster: SlurmCluster, shared: Path, seed: int = 0) -> None:
        self._cluster, self.shared = cluster, shared
        self._chance = random.Random(seed)
        self.faults: Mapping[str, Fault] = {
            "evaluation killed": self._kill_evaluation,
            "job requeued by hand": lambda: self._job("RUNNING", "scontrol", "requeue"),
            "job suspended for 2 s": self._suspend,
            "host dies, back after 15 s": lambda: self._lose_host(with_jobs=True),
            "slurmd dies, its jobs live on": lambda: self._lose_host(with_jobs=False),
            "slurmctld killed, back after 3 s": self._kill_controller,
            "slurmctld stopped for 5 s": self._pause_controller,
        }

    def calm(self) -> None:
        self._cluster.recover(keep=self._cluster.squeue())

    def jobs_left(self) -> str:
        with suppress(TimeoutError):
            self._cluster.wait("the queue to be empty", lambda: not self._queue(), 90)
        return self._queue()

    def _queue(self) -> str:
        return self._cluster.run("squeue", "--noheader").strip()

    def _jobs(self, word: str) -> list[str]:
        with suppress(Exception):
            return [job for job, state in self._cluster.squeue().items() if state == word]
        return []

    def _job(self, word: str, *argv: str) -> object:
        if not (jobs := self._jobs(word)):
            return False
        with suppress(Exception):  # it may have ended meanwhile
            self._cluster.run(*argv, self._chance.choice(jobs))
        return True

    def _suspend(self) -> object:
        if not (jobs := self._jobs("RUNNING")):
            return False
        job = self._chance.choice(jobs)
        with suppress(Exception):
            self._cluster.run("scontrol", "suspend", job)
            time.sleep(2)
            self._cluster.run("scontrol", "resume", job)
        return True

    def _kill_evaluation(self) -> object:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if "submitit.core._submit" in process.cmdline() and "python" in process.name():
                    found.append(process)
        if not found:
            return False
        with suppress(psutil.Error):
            self._chance.choice(found).kill()
        return True

    def _lose_host(self, *, with_jobs: bool) -> None:
        host = self._chance.choice(self._cluster.hosts)
        (self._cluster.faults.kill_host if with_jobs else self._cluster.faults.kill)(host)
        time.sleep(15)  # SlurmdTimeout is 10 s
        self._cluster.faults.start(host)

    def _kill_controller(self) -> None:
        """It forgets its last jobs and gives their ids anew; then it drains the hosts that have both."""
        self._cluster.faults.kill("slurmctld")
        time.sleep(3)
        self._cluster.faults.start("slurmctld")
        with suppress(Exception):  # as the site's administrators do
            for host in self._cluster.hosts:
                if "DRAIN" in self._cluster.run("scontrol", "show", "node", host):
                    self._cluster.run("scontrol", "update", f"NodeName={host}", "State=RESUME")

    def _pause_controller(self) -> None:
        self._cluster.faults.pause("slurmctld")
        time.sleep(5)
        self._cluster.faults.cont("slurmctld")


class DisturbedOar:
    """The jobs are besteffort, so that one of somebody else's takes their host."""

    def __init__(self, cluster: OarCluster, seed: int = 0) -> None:
        self._cluster, self.shared = cluster, cluster.shared
        self._chance = random.Random(seed)
        self.faults: Mapping[str, Fault] = {
            "evaluation killed": self._kill_evaluation,
            "preempted": self._preempt,
            "host dead for 5 s": self._lose_host,
            "server killed, back after 3 s": lambda: self._restart(self._cluster.faults.kill),
            "server stopped in order, back after 3 s": lambda: self._restart(self._cluster.faults.stop),
            "database stopped for 4 s": self._pause_database,
        }

    def calm(self) -> None:
        self._cluster.recover(keep=self._cluster.jobs())

    def jobs_left(self) -> str:
        with suppress(TimeoutError):
            self._cluster.wait("the queue to be empty", lambda: not self._left(), 90)
        return "\n".join(self._cluster.run("oarstat", "--full", "--job", str(job)) for job in self._left())

    def _left(self) -> list[int]:
        return [job for job, word in self._cluster.jobs().items() if word not in ENDED]

    def _running(self) -> list[int]:
        return [job for job, word in self._cluster.jobs().items() if word == "Running"]

    def _kill_evaluation(self) -> object:
        if not (jobs := self._running()):
            return False
        self._cluster.faults.kill_job(self._chance.choice(jobs))
        return True

    def _preempt(self) -> None:
        host = self._chance.choice(self._cluster.hosts)
        where = ["-l", "/nodes=1,walltime=0:1:0", "-p", f"network_address='{host}'"]
        with suppress(subprocess.SubprocessError):
            self._cluster.run("oarsub", *where, "sleep 3")

    def _lose_host(self) -> None:
        host = self._chance.choice(self._cluster.hosts)
        for state in ("Dead", "Alive"):
            with suppress(subprocess.SubprocessError):  # the server may still be coming back
                self._cluster.faults.set_host(host, state)
            time.sleep(5)

    def _restart(self, end: Callable[[str], None]) -> None:
        end("almighty")
        time.sleep(3)
        self._cluster.faults.start("almighty")

    def _pause_database(self) -> None:
        self._cluster.faults.pause("postgres")
        time.sleep(4)
        self._cluster.faults.cont("postgres")


@contextmanager
def slurm() -> Iterator[Disturbed]:
    """A real SLURM, this process's and its children's own, and a directory that its jobs see."""
    if reason := why_not():
        raise SystemExit(f"no SLURM cluster: {reason}")
    cluster = SlurmCluster(Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")))
    with tempfile.TemporaryDirectory(prefix="faults-") as shared, pytest.MonkeyPatch.context() as patch:
        try:
            cluster.up()
            for name, value in cluster.environment.items():
                patch.setenv(name, value)
            yield DisturbedSlurm(cluster, Path(shared))
        finally:
            cluster.down(purge=True)


@contextmanager
def oar() -> Iterator[Disturbed]:
    """A real OAR, as `slurm` is; this process starts its children as an ordinary user."""
    with oar_machine.hold(0):
        if reason := oar_machine.why_not():
            raise SystemExit(f"no OAR: {reason}")
        cluster = OarCluster(Path(tempfile.mkdtemp(prefix="oar-", dir="/tmp")))
        with pytest.MonkeyPatch.context() as patch:
            mask = os.umask(0)
            try:
                cluster.up()
                for name, value in cluster.environment.items():
                    patch.setenv(name, value)
                patch.setattr(sys, "executable", str(cluster.python))
                cluster.new_shared()
                yield DisturbedOar(cluster)
            finally:
                os.umask(mask)
                cluster.down(purge=True)


SCHEDULERS: Mapping[str, Callable[[], AbstractContextManager[Disturbed]]] = {"slurm": slurm, "oar": oar}
