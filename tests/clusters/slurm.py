"""A real SLURM cluster of several hosts with four GPUs each, on one machine, as root, without systemd.

By hand:  python -m tests.clusters.slurm up DIR [--accounting] [--hosts N]    prints what to export
          python -m tests.clusters.slurm down DIR

DIR holds everything: configuration, state, sockets, logs, pid files. Its path must be short, for unix
sockets. What runs already is left alone; to change the options, bring it down and remove DIR.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.clusters import database
from tests.clusters.faults import Faults, gone
from tests.clusters.slurm_conf import configuration, free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db")
GPUS = 4
Settings = Mapping[str, str]
DEFAULTS: Settings = {}


def why_not(*, accounting: bool = False) -> str | None:
    """Why no cluster can be brought up here, with the remedy; None if one can."""
    if os.geteuid() != 0:
        return "several slurmd on one machine need root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    programs = PROGRAMS + (ACCOUNTING_PROGRAMS if accounting else ())
    if missing := [name for name in programs if shutil.which(name, path=path) is None]:
        packages = "slurm-wlm slurm-wlm-basic-plugins munge" + (
            " slurmdbd mariadb-server" if accounting else ""
        )
        return f"{', '.join(missing)} missing: apt-get install --no-install-recommends {packages}"
    return None


class SlurmCluster:
    """One cluster in one directory. Daemons are known by their pid files, and only by them."""

    def __init__(
        self, directory: Path, hosts: int = 4, *, accounting: bool = False, settings: Settings = DEFAULTS
    ) -> None:
        """`settings`: more lines of slurm.conf."""
        self.directory = directory.resolve()
        self.hosts = tuple(f"n{number}" for number in range(1, hosts + 1))
        self.accounting, self._settings = accounting, settings
        self.environment = {"SLURM_CONF": str(self.directory / "etc/slurm.conf")}
        self.faults = Faults(self)

    # ------------------------------------------------------------------ up and down

    def up(self) -> SlurmCluster:
        """Start what does not run yet and wait until every host takes jobs."""
        for name in ("etc", "log", "pid", "state", "spool", "munge", "dev"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        if not (self.directory / "etc/slurm.conf").exists():
            self._configure()
        self._start_munged()
        if self.accounting:
            self._start_accounting()
        for daemon in ("slurmctld", *self.hosts):
            self.start(daemon)
        self.wait("every host to take jobs", self._all_ready)
        return self

    def recover(self, keep: Collection[str] = ()) -> None:
        """Undo every fault and cancel every job but those to keep."""
        for daemon in ("munged", "mariadbd", "slurmdbd", "slurmctld", *self.hosts):
            if (process := self.process(daemon)) is not None:
                process.resume()
        if any(self.process(daemon) is None for daemon in ("slurmctld", *self.hosts)):
            self.up()
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED")

        def left() -> list[str]:
            return [job for job, word in self.squeue().items() if word not in ended and job not in keep]

        if jobs := left():
            self.run("scancel", *jobs)
        self.wait("cancelled jobs to end", lambda: not left())
        for host in self.hosts:  # a controller that was killed may have an old state of its hosts
            with suppress(subprocess.CalledProcessError):
                self.run("scontrol", "update", f"NodeName={host}", "State=RESUME")
        self.wait("every host to take jobs", self._all_ready)

    def down(self, *, purge: bool = False) -> None:
        """End every daemon and every process of a job; harmless if nothing runs.

        Args:
            purge: remove the directory too, so that no daemon need save its state: it is killed.
        """
        # slurmctld first, so that nothing is requeued; munged last, the others talk through it.
        for group in (("slurmctld",), self._slurmds(), ("slurmdbd",), ("mariadbd",), ("munged",)):
            self._end(group, patience_s=0 if purge else 10)
            if group != ("slurmctld",):
                self.kill_job_processes()
        if purge:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _slurmds(self) -> tuple[str, ...]:
        return tuple(path.stem for path in (self.directory / "pid").glob("n[0-9]*.pid"))

    def _end(self, daemons: Sequence[str], patience_s: float) -> None:
        alive = [process for daemon in daemons if (process := self.process(daemon)) is not None]
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        if patience_s:
            alive = gone(alive, signal.SIGTERM, patience_s)
        gone(alive, signal.SIGKILL, 5)
        for daemon in daemons:
            self._pid_file(daemon).unlink(missing_ok=True)

    def kill_job_processes(self, host: str | None = None) -> None:
        """SIGKILL to steps and jobs of this cluster, or of one of its hosts, that outlived their slurmd."""
        spool = f"{self.directory / 'spool'}/" + (f"{host}/" if host else "")
        stepds, tasks = [], []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                # A step's daemon overwrites its environment with its title; its socket tells whose it is.
                if process.name() == "slurmstepd":
                    sockets = (str(one.laddr) for one in process.net_connections("unix"))
                    if any(path.startswith(spool) for path in sockets):
                        stepds.append(process)
                        tasks += process.children(recursive=True)
                elif process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"]:
                    its_host = process.environ().get("SLURMD_NODENAME")
                    if its_host and host in (None, its_host):
                        tasks.append(process)
        for process in stepds + tasks:  # in this order: the daemons would report the end of their tasks
            with suppress(psutil.NoSuchProcess):
                process.kill()

    # ------------------------------------------------------------------ questions

    def run(self, *argv: str) -> str:
        """Standard output of one of SLURM's commands on this cluster.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        return subprocess.run(
            argv, env=self._environment(), check=True, capture_output=True, text=True, timeout=30
        ).stdout

    def squeue(self) -> dict[str, str]:
        """State word of every job that slurmctld remembers, by id, array elements one by one."""
        text = self.run("squeue", "--noheader", "--array", "--states=all", "--format=%i %T")
        return dict(line.split() for line in text.splitlines())

    def wait(self, what: str, true: Callable[[], bool], seconds: float = 60) -> None:
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
                listing = self.run("sinfo", "--Node", "--long") + self.run("squeue")
                raise TimeoutError(f"waited {seconds:g} s for {what}:\n{listing}")
            time.sleep(0.05)

    def process(self, daemon: str) -> psutil.Process | None:
        """The living daemon: munged, mariadbd, slurmdbd, slurmctld, or by a host's name its slurmd."""
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            process = psutil.Process(int(self._pid_file(daemon).read_text()))
            program = "slurmd" if daemon in self.hosts else daemon
            if process.name() == program and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None

    def _all_ready(self) -> bool:
        states = self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T").split()
        # A host that does not answer has a mark after the word.
        return len(states) == len(self.hosts) and set(states) <= {"idle", "mixed", "allocated"}

    # ------------------------------------------------------------------ daemons

    def start(self, daemon: str) -> None:
        """Start slurmctld, slurmdbd or a host's slurmd, unless it runs."""
        if self.process(daemon) is not None:
            return
        self._pid_file(daemon).unlink(missing_ok=True)
        argv = [daemon]
        if daemon in self.hosts:
            (self.directory / "spool" / daemon).mkdir(exist_ok=True)
            argv = ["slurmd", "-N", daemon]
        # They become daemons by themselves.
        subprocess.run(
            argv,
            env=self._environment(),
            check=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        self.wait(f"the pid file of {daemon}", lambda: self.process(daemon) is not None)

    def _start_munged(self) -> None:
        if self.process("munged") is not None:
            return
        munge = self.directory / "munge"
        key = munge / "munge.key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(os.urandom(128))
        munge.chmod(0o711)
        for stale in munge.glob("munge.sock*"):
            stale.unlink()
        paths = {
            "socket": munge / "munge.sock",
            "key-file": key,
            "pid-file": self._pid_file("munged"),
            "log-file": self.directory / "log/munged.log",
            "seed-file": munge / "munge.seed",
        }
        options = [f"--{name}={path}" for name, path in paths.items()]
        subprocess.run(
            ["munged", "--force", "--num-threads=4", *options], env=self._environment(), check=True
        )
        self.wait("munged", lambda: bool(self.run("munge", "-n", "-S", str(paths["socket"]))))

    def _start_accounting(self) -> None:
        data, environment = self.directory / "mysql", self._environment()
        if self.process("mariadbd") is None:
            port = int(self._accounting_setting("StoragePort"))
            log = self.directory / "log/mariadbd.log"
            database.start(data, port, self._pid_file("mariadbd"), log, environment)
        self.wait("mariadbd", lambda: database.prepare(data, environment))
        self.start("slurmdbd")
        self.wait("slurmdbd", lambda: self.run("sacctmgr", "-n", "show", "cluster") is not None)
        if not self.run("sacctmgr", "-n", "show", "cluster", "test").strip():
            self.run("sacctmgr", "-i", "add", "cluster", "test")

    def _configure(self) -> None:
        # A file that stat() takes for a device, or CUDA_VISIBLE_DEVICES is not set.
        for number in range(GPUS):
            (self.directory / f"dev/nvidia{number}").symlink_to("/dev/null")
        ports = free_ports(3 + len(self.hosts))
        about = self.directory, socket.gethostname(), self.hosts, GPUS, ports
        files = configuration(*about, accounting=self.accounting, settings=self._settings)
        for name, text in files.items():
            path = self.directory / "etc" / name
            path.touch(mode=0o600 if name == "slurmdbd.conf" else 0o644)
            path.write_text(text)

    def _accounting_setting(self, name: str) -> str:
        text = (self.directory / "etc/slurmdbd.conf").read_text()
        return dict(line.split("=", 1) for line in text.splitlines())[name]

    def _pid_file(self, daemon: str) -> Path:
        return self.directory / f"pid/{daemon}.pid"

    def _environment(self) -> dict[str, str]:
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))
        }
        return clean | self.environment | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd and a database")
    given = parser.parse_args()
    cluster = SlurmCluster(given.directory, given.hosts, accounting=given.accounting)
    if given.action == "down":
        cluster.down()
    elif reason := why_not(accounting=given.accounting):
        sys.exit(reason)
    else:
        cluster.up()
        sys.stdout.writelines(f"export {name}={value}\n" for name, value in cluster.environment.items())


if __name__ == "__main__":
    main()
