"""What befalls a test OAR."""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import psutil

from tests.clusters.faults import gone
from tests.clusters.oar_conf import ANY_JOBS, MARK, MOST_JOBS
from tests.clusters.oar_machine import environment


class Cluster(Protocol):
    """What faults need of a cluster."""

    @property
    def directory(self) -> Path: ...
    def process(self, daemon: str) -> psutil.Process | None: ...
    def start(self, daemon: str) -> None: ...
    def end(self, daemon: str) -> None: ...
    def sql(self, statement: str) -> str: ...


class OarFaults:
    """What befalls this OAR. A daemon is "almighty", the server, or "postgres", which every command asks."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def stop(self, daemon: str) -> None:
        """End it in good order."""
        self._cluster.end(daemon)

    def kill(self, daemon: str) -> None:
        process = self._cluster.process(daemon)
        assert process is not None, f"{daemon} does not run"
        gone([process, *process.children(recursive=True)], signal.SIGKILL, 30)

    def pause(self, daemon: str) -> None:
        """It lives and does not answer."""
        for one in self._family(daemon):
            with suppress(psutil.NoSuchProcess):
                one.suspend()

    def cont(self, daemon: str) -> None:
        for one in self._family(daemon):
            with suppress(psutil.NoSuchProcess):
                one.resume()

    def start(self, daemon: str) -> None:
        self._cluster.start(daemon)

    def set_host(self, host: str, state: str) -> None:
        """What an administrator, or a failed ping, makes of a host: Dead, Absent or Alive."""
        self._root("oarnodesetting", "-h", host, "-s", state)

    def break_host(self, host: str) -> None:
        """Its prologue fails from now on."""
        (self._cluster.directory / "broken" / host).touch()

    def limit_jobs(self, count: int | None) -> None:
        """A user may have so many jobs; None: any number."""
        self._cluster.sql(ANY_JOBS.format(mark=MARK))
        if count is not None:
            self._cluster.sql(MOST_JOBS.format(mark=MARK, count=count))

    def kill_oarexec(self, job: str) -> None:
        """What watches the job on its host crashes, and all of the job with it."""
        path = self._cluster.directory / f"runtime/pid_of_oarexec_for_jobId_{job}"
        oarexec = psutil.Process(int(path.read_text()))
        gone([oarexec, *oarexec.children(recursive=True)], signal.SIGKILL, 30)

    def kill_job(self, job: int) -> None:
        """Kill the job's own processes; its oarexec reports the end."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("OAR_JOB_ID") == str(job):
                    process.kill()

    def _root(self, *argv: str) -> None:
        subprocess.run(argv, env=environment(), check=True, capture_output=True, timeout=60, cwd="/")

    def _family(self, daemon: str) -> list[psutil.Process]:
        process = self._cluster.process(daemon)
        return [] if process is None else [process, *process.children(recursive=True)]
