"""The hosts of this job, and how to start one process per rank on them."""

from __future__ import annotations

import os
import random
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.attempt.failure import EvaluationFailed
from orchestrator.contract import Failure

# Beginnings of the names of variables that describe the SLURM step of this process: another step of the job
# must not inherit them …
_STEPS_OWN = ("SLURM_", "SRUN_", "SUBMITIT_")
# … except these, which describe the job.
_JOBS_OWN = ("SLURM_CONF", "SLURM_JOB_ID", "SLURM_JOBID", "SLURM_CLUSTERS", "SLURM_ARRAY_", "SLURM_SUBMIT_")
# Beginnings of the names of variables that each host, or the connection to it, sets itself: not passed on.
_HOSTS_OWN = ("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "HOSTNAME", "SSH_", "TMPDIR", "XDG_RUNTIME_DIR")
_OARSH = (
    "oarsh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20",
    "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=4",  # a host that is cut off is noticed
)  # fmt: skip


@dataclass(frozen=True)
class Launcher:
    """A command on this host that starts one rank, or with srun all of them, and ends when they do.

    Attributes:
        rank: the rank; None: all.
        host: where it runs; "" where the messages of the command name it.
        environment: of the command; None: this process's.
    """

    argv: tuple[str, ...]
    rank: int | None = None
    host: str = ""
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Layout:
    """Where the ranks of one command run.

    Attributes:
        address: name or address under which the other hosts find the first one.
        remote: variables of this process's environment that ranks on other hosts do not get by themselves.
    """

    launchers: tuple[Launcher, ...]
    address: str
    remote: Mapping[str, str]


def layout(hosts: int, per_host: int, program: Sequence[str]) -> Layout:
    """How to run `program` (to which RANK and LOCAL_RANK are added) `per_host` times on each of the hosts.

    Raises:
        EvaluationFailed: this job has fewer hosts, or the first one has no name that can be resolved.
    """
    here = [
        Launcher((*program, str(rank), str(rank)), rank, socket.gethostname()) for rank in range(per_host)
    ]
    if hosts == 1:
        return Layout(tuple(here), "127.0.0.1", {})
    if "SLURM_JOB_ID" in os.environ:
        return Layout((_srun(hosts, per_host, program),), _resolvable(os.environ.get("SLURMD_NODENAME")), {})
    if nodes := oar_hosts(os.environ):
        if len(nodes) < hosts:
            raise EvaluationFailed(
                Failure.BAD_DATA,
                f"hosts = {hosts}, but OAR gave this job {', '.join(nodes)}: ask for host={hosts} in options",
            )
        there = [
            Launcher(oarsh_argv(nodes[number], program, rank, rank % per_host), rank, nodes[number])
            for number in range(1, hosts)
            for rank in range(number * per_host, (number + 1) * per_host)
        ]
        remote = {k: v for k, v in os.environ.items() if not k.startswith((*_HOSTS_OWN, "OAR_"))}
        return Layout((*here, *there), _resolvable(nodes[0]), remote)
    raise EvaluationFailed(
        Failure.BAD_DATA, f"hosts = {hosts}: only SLURM and OAR give a job several hosts: lower it to 1"
    )


def oar_hosts(environment: Mapping[str, str]) -> list[str]:
    """The hosts of this OAR job, beginning with the one that its script runs on; empty outside OAR.

    OAR lists them in a file with a line for each core.
    """
    path = environment.get("OAR_NODEFILE") or environment.get("OAR_NODE_FILE")
    lines = Path(path).read_text(encoding="utf-8").split() if path else []
    return list(dict.fromkeys(lines))


def oarsh_argv(host: str, program: Sequence[str], rank: int, local_rank: int) -> tuple[str, ...]:
    """The command that starts a rank on `host`; quoted, as the shell there reads it as one line."""
    return (*_OARSH, host, shlex.join([*program, str(rank), str(local_rank)]))


def free_port() -> int:
    """A port of this host that nobody listens on, below those the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(20000, 32000)  # noqa: S311 - no secret
        with socket.socket() as candidate:
            try:
                candidate.bind(("", port))
            except OSError:
                continue
        return port


def _srun(hosts: int, per_host: int, program: Sequence[str]) -> Launcher:
    """One SLURM step over all hosts, which shares cores, memory and GPUs with the step of this process."""
    argv = (
        "srun", "--overlap", "--overcommit", "--mem=0", "--cpu-bind=none", "--kill-on-bad-exit=1",
        f"--nodes={hosts}", f"--ntasks={hosts * per_host}", f"--ntasks-per-node={per_host}",
    )  # fmt: skip
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_JOBS_OWN) or not name.startswith(_STEPS_OWN)
    }
    return Launcher((*argv, *program), environment=environment)


def _resolvable(name: str | None) -> str:
    """The first of this host's names that has an address: `name`, or what the system calls it.

    Raises:
        EvaluationFailed: none of them has one.
    """
    names = [one for one in (name, socket.gethostname(), socket.getfqdn()) if one]
    for one in names:
        try:
            socket.getaddrinfo(one, None)
        except OSError:
            continue
        return one
    raise EvaluationFailed(
        Failure.HOST_FAULT, f"{' or '.join(names)}: this host's name has no address, so others cannot find it"
    )
