"""A real OAR of several hosts with four GPUs each, on one machine, as root, without systemd.

By hand:  python -m tests.clusters.oar up DIR      prints what to export
          python -m tests.clusters.oar down DIR

DIR holds what can be held there: the database, the runtime directory, logs, pid files. OAR wants the rest in
fixed places: its configuration and host key under /etc/oar, its ssh keys under /var/lib/oar, ports 6666 and
6667, and the hosts' names in /etc/hosts. So there can be one such cluster on a machine, which a lock sees to.

OAR takes no jobs from root. DIR/bin holds OAR's commands, and an interpreter, as they are for the user
`orchestrator-test`; with DIR/bin first on PATH, a test that runs as root submits as that user.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.clusters import oar_machine
from tests.clusters.faults import gone
from tests.clusters.oar_conf import POSTGRESQL, resources
from tests.clusters.oar_faults import OarFaults
from tests.clusters.slurm_conf import free_ports

GPUS = 4
ENDED = ("Terminated", "Error")


class OarCluster:
    """One OAR in one directory. Daemons are known by their pid files, and only by them."""

    def __init__(self, directory: Path, hosts: int = 2) -> None:
        self.directory = directory.resolve()
        self.hosts = tuple(f"chuc-{number}.lille.grid5000.fr" for number in range(1, hosts + 1))
        self.python = self.directory / "bin/python"
        self.environment = {"PATH": f"{self.directory / 'bin'}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
        self.faults = OarFaults(self)
        self._shared = self.directory

    # ------------------------------------------------------------------ up and down

    def up(self) -> OarCluster:
        """Start what does not run yet and wait until every host takes jobs."""
        for name in ("log", "pid", "runtime", "bin", "broken"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        oar_machine.add_user()
        if not self.python.exists():
            oar_machine.write_commands(self.directory)
        for name in ("log", "runtime"):
            shutil.chown(self.directory / name, "oar", "oar")
        fresh = not (self.directory / "pg/PG_VERSION").exists()
        if fresh:
            self._create_database()
        oar_machine.occupy(self.directory, self.hosts, self._port())
        self.start("postgres")
        if fresh:
            self._fill_database()
        for daemon in ("sshd", "almighty"):
            self.start(daemon)
        self.wait("every host to take jobs", self._all_ready)
        return self

    def recover(self, keep: Collection[int] = ()) -> None:
        """Undo every fault and delete every job but those to keep."""
        for daemon in ("postgres", "almighty"):
            self.faults.cont(daemon)
        for daemon in ("postgres", "sshd", "almighty"):
            self.start(daemon)
        self.faults.limit_jobs(None)
        for host in self.hosts:
            (self.directory / "broken" / host).unlink(missing_ok=True)
        bad = self.sql("select distinct host from resources where state <> 'Alive'")
        for host in bad.splitlines():
            self.faults.set_host(host, "Alive")

        def left() -> list[int]:
            return [job for job, word in self.jobs().items() if word not in ENDED and job not in keep]

        for job in left():
            self.faults.kill_job(job)
        if jobs := left():
            argv = ["oardel", *map(str, jobs)]
            subprocess.run(argv, env=oar_machine.environment(), check=False, capture_output=True)
        self.wait("deleted jobs to end", lambda: not left())
        self.wait("every host to take jobs", self._all_ready)

    def down(self, *, purge: bool = False) -> None:
        """End every daemon and every process of a job; harmless if nothing runs.

        Args:
            purge: remove the directory too.
        """
        for daemon in ("almighty", "sshd", "postgres"):
            if daemon == "sshd":
                self._kill_jobs()
            self.end(daemon)
        oar_machine.leave(self.directory)
        if purge:
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def shared(self) -> Path:
        """Where the jobs' user may write: what the master and the hosts share."""
        return self._shared

    def new_shared(self) -> None:
        """Make `shared` a fresh directory."""
        self._shared = Path(tempfile.mkdtemp(prefix="shared-", dir=self.directory))
        self._shared.chmod(0o777)

    # ------------------------------------------------------------------ questions

    def run(self, *argv: str) -> str:
        """Standard output of one of OAR's commands, run as the user.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        environment = {**oar_machine.environment(), **self.environment}
        return subprocess.run(
            argv, env=environment, check=True, capture_output=True, text=True, timeout=60, cwd="/"
        ).stdout

    def sql(self, statement: str, database: str = "oar") -> str:
        """Rows of the answer, fields separated by |."""
        url = f"postgresql://postgres@127.0.0.1:{self._port()}/{database}"
        argv = ["psql", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-c", statement, url]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    def jobs(self) -> dict[int, str]:
        """State word of every job there ever was, by id."""
        rows = self.sql("select job_id, state from jobs").splitlines()
        return {int(job): word for job, _, word in (row.partition("|") for row in rows)}

    def wait(self, what: str, true: Callable[[], bool], seconds: float = 90) -> None:
        """Wait until something holds.

        Raises:
            TimeoutError: names what did not come to hold.
        """
        deadline = time.monotonic() + seconds
        while True:
            with suppress(subprocess.SubprocessError, OSError):
                if true():
                    return
            if time.monotonic() > deadline:
                log = (self.directory / "log/oar.log").read_text(errors="replace").splitlines()[-20:]
                raise TimeoutError(f"waited {seconds:g} s for {what}; oar.log ends:\n" + "\n".join(log))
            time.sleep(0.1)

    def process(self, daemon: str) -> psutil.Process | None:
        """The living daemon: postgres, sshd or almighty."""
        with suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
            process = psutil.Process(int(self._pid_file(daemon).read_text().split()[0]))
            if daemon in process.name().lower() and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None

    def _all_ready(self) -> bool:
        alive = self.sql("select count(distinct host) from resources where state = 'Alive'")
        return int(alive) == len(self.hosts)

    # ------------------------------------------------------------------ daemons

    def start(self, daemon: str) -> None:
        """Start postgres, sshd or almighty, unless it runs."""
        if self.process(daemon) is not None:
            return
        {"postgres": self._start_postgres, "sshd": self._start_sshd, "almighty": self._start_almighty}[
            daemon
        ]()
        self.wait(
            f"the start of {daemon}", lambda: self.process(daemon) is not None and self._answers(daemon)
        )

    def end(self, daemon: str) -> None:
        """End a daemon with its children, the hard way if need be."""
        process = self.process(daemon)
        if process is None:
            return
        family = [process, *process.children(recursive=True)]
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.resume()
        if daemon == "postgres":
            gone([process], signal.SIGINT, 20)  # "fast": clients are cut off
        elif left := gone([process], signal.SIGTERM, 10):
            gone(left, signal.SIGKILL, 5)
        gone(family, signal.SIGKILL, 5)
        self._pid_file(daemon).unlink(missing_ok=True)

    def _answers(self, daemon: str) -> bool:
        if daemon == "postgres":
            self.sql("select 1", "postgres")
            return True
        port = {"sshd": 6667, "almighty": 6666}[daemon]
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False

    def _start_postgres(self) -> None:
        data = self.directory / "pg"
        (data / "postmaster.pid").unlink(missing_ok=True)
        argv = oar_machine.as_user("postgres", f"{oar_machine.postgresql()}/postgres", "-D", str(data))
        self._daemon(argv, "postgres", write_pid=False)

    def _start_sshd(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        addresses = ["127.0.0.1", *(f"127.0.1.{number + 1}" for number in range(len(self.hosts)))]
        listen = [word for address in addresses for word in ("-o", f"ListenAddress={address}")]
        argv = ["/usr/sbin/sshd", "-D", "-f", "/etc/oar/sshd_config", *listen, "-o", "PidFile=none"]
        self._daemon([*argv, "-E", str(self.directory / "log/sshd.log")], "sshd")

    def _start_almighty(self) -> None:
        self._daemon(["/usr/sbin/Almighty"], "almighty")

    def _daemon(self, argv: Sequence[str], daemon: str, *, write_pid: bool = True) -> None:
        with (self.directory / f"log/{daemon}.out").open("ab") as file:
            started = subprocess.Popen(
                argv,
                env=oar_machine.environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                cwd="/",
            )
        if write_pid:
            self._pid_file(daemon).write_text(f"{started.pid}\n")

    def _pid_file(self, daemon: str) -> Path:
        return self.directory / ("pg/postmaster.pid" if daemon == "postgres" else f"pid/{daemon}.pid")

    def _kill_jobs(self) -> None:
        with suppress(subprocess.SubprocessError, OSError):
            for job, word in self.jobs().items():
                if word not in ENDED:
                    self.faults.kill_job(job)

    def _create_database(self) -> None:
        data = self.directory / "pg"
        data.mkdir(mode=0o700)
        shutil.chown(data, "postgres", "postgres")
        argv = [f"{oar_machine.postgresql()}/initdb", "-D", str(data), "-A", "trust", "-U", "postgres"]
        argv = oar_machine.as_user("postgres", *argv, "--no-sync", "-E", "UTF8", "--locale=C")
        subprocess.run(argv, check=True, capture_output=True, timeout=120, cwd="/")
        (port,) = free_ports(1)
        (self.directory / "port").write_text(f"{port}\n")
        with (data / "postgresql.conf").open("a") as file:
            file.write(POSTGRESQL.format(port=port))

    def _fill_database(self) -> None:
        argv = ["oar-database", "--create", "--db-admin-user=postgres", "--db-admin-pass=x"]
        subprocess.run(argv, env=oar_machine.environment(), check=True, capture_output=True, timeout=120)
        self.sql(resources(self.hosts, GPUS))

    def _port(self) -> int:
        return int((self.directory / "port").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--hosts", type=int, default=2)
    given = parser.parse_args()
    cluster = OarCluster(given.directory, given.hosts)
    if given.action == "down":
        cluster.down()
        return
    reason = oar_machine.why_not()
    if reason and oar_machine.owner() != cluster.directory:
        sys.exit(reason)
    with oar_machine.hold(10):
        cluster.up()
    sys.stdout.writelines(
        f"export {name}={shlex.quote(value)}\n" for name, value in cluster.environment.items()
    )


if __name__ == "__main__":
    main()
