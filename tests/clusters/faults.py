"""What befalls a cluster."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import psutil


def gone(processes: Sequence[psutil.Process], number: signal.Signals, seconds: float) -> list[psutil.Process]:
    """Signal processes and wait until they are gone, or zombies that their parent is slow to reap.

    Returns:
        Those that are still there after so many seconds.
    """
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    deadline = time.monotonic() + seconds
    left = list(processes)
    while (left := [one for one in left if _alive(one)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


class Cluster(Protocol):
    """What faults need of a cluster."""

    def process(self, daemon: str) -> psutil.Process | None: ...
    def start(self, daemon: str) -> None: ...
    def kill_job_processes(self, host: str | None = None) -> None: ...


class Faults:
    """A daemon is "slurmctld", "slurmdbd", or a host's name for its slurmd."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def stop(self, daemon: str) -> None:
        """End it in good order."""
        gone([self._process(daemon)], signal.SIGTERM, 30)

    def kill(self, daemon: str) -> None:
        gone([self._process(daemon)], signal.SIGKILL, 30)

    def pause(self, daemon: str) -> None:
        """It lives and does not answer."""
        self._process(daemon).suspend()

    def cont(self, daemon: str) -> None:
        self._process(daemon).resume()

    def start(self, daemon: str) -> None:
        self._cluster.start(daemon)

    def kill_host(self, host: str) -> None:
        """A host dies with all that runs on it."""
        self.kill(host)
        self._cluster.kill_job_processes(host)

    def _process(self, daemon: str) -> psutil.Process:
        process = self._cluster.process(daemon)
        assert process is not None, f"{daemon} does not run"
        return process
