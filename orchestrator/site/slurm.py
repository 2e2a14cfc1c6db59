"""What a SLURM cluster says of itself: partitions with their limits, hosts with their GPUs, accounts, QOS."""

from __future__ import annotations

import getpass
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.errors import OrchestratorError
from orchestrator.site import ask

COMMANDS = ("sbatch", "squeue", "scancel", "sinfo", "scontrol")
_UNLIMITED = {"", "UNLIMITED", "INFINITE", "NONE", "N/A", "(null)"}
_AWAY = ("down", "drain", "fail", "error", "unk", "maint", "future", "power_down", "powering_down", "inval")


@dataclass(frozen=True, slots=True)
class Host:
    """A host as one partition offers it."""

    name: str
    gpus: int
    gpu_type: str  # "" if the site gives none
    cores: int
    memory_mb: int
    word: str  # SLURM's state word: idle, mixed, allocated, down*, …
    features: frozenset[str]

    @property
    def usable(self) -> bool:
        """False if no job can start there until an administrator mends it."""
        return not self.word.endswith("*") and not self.word.startswith(_AWAY)


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition; a limit is None where there is none.

    Attributes:
        walltime_min: longest wall-time of a job, in minutes.
        most_hosts: most hosts of one job.
        accounts: those that may use it; None: all.
        qos: those that may be used in it; None: all.
    """

    name: str
    default: bool
    up: bool
    walltime_min: float | None
    most_hosts: int | None
    accounts: frozenset[str] | None
    qos: frozenset[str] | None
    preempt: str  # "off", or what becomes of a job that is preempted
    hosts: tuple[Host, ...]

    @property
    def gpus(self) -> int:
        """The largest number of GPUs that one of its hosts has."""
        return max((host.gpus for host in self.hosts), default=0)

    def with_gpus(self, gpus: int) -> tuple[Host, ...]:
        """Its hosts that have at least so many GPUs."""
        return tuple(host for host in self.hosts if host.gpus >= gpus)


@dataclass(frozen=True, slots=True)
class Association:
    """What SLURM's accounting allows this user: an account, where it may be used, and its limits.

    Attributes:
        qos: those that may be used with it.
        most_submitted: most jobs in the queue at once; None: no limit.
        walltime_min: longest wall-time of a job, in minutes; None: no limit.
    """

    account: str
    partition: str  # "": all
    qos: frozenset[str]
    most_submitted: int | None
    walltime_min: float | None


@dataclass(frozen=True, slots=True)
class Qos:
    """A quality of service and its limits per user; None: no limit."""

    name: str
    walltime_min: float | None
    most_submitted: int | None


@dataclass(frozen=True, slots=True)
class SlurmSite:
    """What a cluster looks like at one time.

    Attributes:
        largest_array: most jobs that one array can hold.
        accounting: True if jobs are recorded in a database, which `sacct` reads.
        enforced: what is checked before a job is accepted: "associations", "limits", "qos", …
        associations: of this user; None if accounting cannot be read.
    """

    name: str
    version: str
    partitions: tuple[Partition, ...]
    largest_array: int
    accounting: bool
    enforced: frozenset[str]
    associations: tuple[Association, ...] | None
    qos: tuple[Qos, ...]

    @property
    def default(self) -> Partition | None:
        """The partition of jobs that name none; None if there is no such partition."""
        return next((one for one in self.partitions if one.default), None)

    def partition(self, name: str) -> Partition | None:
        """The partition of that name; None if there is none."""
        return next((one for one in self.partitions if one.name == name), None)


def read_site() -> SlurmSite:
    """Ask the controller, and accounting if there is any.

    Raises:
        InputError: SLURM's commands are not on PATH.
        SchedulerError: the controller does not answer.
    """
    settings = _settings(ask("scontrol", "show", "config"))
    hosts = _hosts(ask("sinfo", "--all", "--noheader", "--Node", "--format=%R|%N|%G|%c|%m|%T|%f"))
    partitions = tuple(
        _partition(line, hosts)
        for line in ask("scontrol", "--all", "--oneliner", "show", "partition").splitlines()
        if line.startswith("PartitionName=")
    )
    accounting = settings.get("AccountingStorageType", "").endswith("/slurmdbd")
    associations, qos = _accounts() if accounting else (None, ())
    return SlurmSite(
        name=settings.get("ClusterName", ""),
        version=settings.get("SLURM_VERSION", ""),
        partitions=partitions,
        largest_array=max(0, int(settings.get("MaxArraySize", "1001")) - 1),
        accounting=accounting,
        enforced=frozenset(settings.get("AccountingStorageEnforce", "none").split(",")) - {"none"},
        associations=associations,
        qos=qos,
    )


def minutes(text: str) -> float | None:
    """Minutes of "[D-]HH:MM:SS", "MM:SS" or "MM"; None for no limit."""
    if text.strip() in _UNLIMITED:
        return None
    days, _, clock = text.strip().rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:  # D-HH[:MM[:SS]]
        hours, minute, second = [*parts, 0, 0][:3]
        return 1440.0 * int(days) + 60 * hours + minute + second / 60
    if len(parts) == 1:
        return float(parts[0])
    total = 0.0
    for part in parts:
        total = 60 * total + part
    return total / 60


def gpus_of(gres: str) -> tuple[int, str]:
    """The number of GPUs in a text like "gpu:a100:4(S:0-1),…", and their type; "" if that is not unique."""
    found: Counter[str] = Counter()
    for kind, count in re.findall(r"\bgpu:(?:([^:,()]+):)?(\d+)", gres):
        found[kind] += int(count)
    return found.total(), next(iter(found)) if len(found) == 1 else ""


def _settings(text: str) -> dict[str, str]:
    """The settings in the output of `scontrol show config`, by name."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _hosts(text: str) -> dict[str, list[Host]]:
    """The hosts of each partition, by its name, from the output of `sinfo`."""
    found: dict[str, list[Host]] = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) == 7:
            partition, name, gres, cores, memory, word, features = fields
            gpus, kind = gpus_of(gres)
            known = frozenset() if features == "(null)" else frozenset(features.split(","))
            memory_mb = int(memory.rstrip("+") or 0)
            host = Host(name, gpus, kind, int(cores.rstrip("+") or 0), memory_mb, word, known)
            found.setdefault(partition, []).append(host)
    return found


def _partition(line: str, hosts: dict[str, list[Host]]) -> Partition:
    """A partition from its line of `scontrol show partition`."""
    fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
    most = fields.get("MaxNodes", "")
    return Partition(
        name=fields["PartitionName"],
        default=fields.get("Default") == "YES",
        up=fields.get("State") == "UP",
        walltime_min=minutes(fields.get("MaxTime", "")),
        most_hosts=None if most in _UNLIMITED else int(most),
        accounts=_names(fields.get("AllowAccounts", "ALL")),
        qos=_names(fields.get("AllowQos", "ALL")),
        preempt=fields.get("PreemptMode", "OFF").lower(),
        hosts=tuple(hosts.get(fields["PartitionName"], ())),
    )


def _names(text: str) -> frozenset[str] | None:
    """The names in a list with commas; None for ALL."""
    return None if text == "ALL" else frozenset(text.split(","))


def _accounts() -> tuple[tuple[Association, ...] | None, tuple[Qos, ...]]:
    """The user's associations, and every QOS; None and () if accounting cannot be read."""
    try:
        own = _table("assoc", f"user={getpass.getuser()}", "Account,Partition,QOS,MaxSubmitJobs,MaxWall")
        qos = _table("qos", "", "Name,MaxWall,MaxSubmitJobsPerUser")
    except (OrchestratorError, KeyError):  # this user is unknown there, or may not read it
        return None, ()
    return (
        tuple(
            Association(
                account, partition, frozenset(filter(None, names.split(","))), _count(most), minutes(wall)
            )
            for account, partition, names, most, wall in own
        ),
        tuple(Qos(name, minutes(wall), _count(most)) for name, wall, most in qos),
    )


def _table(what: str, which: str, columns: str) -> Iterable[list[str]]:
    """The rows that `sacctmgr show WHAT WHICH` prints, each as one text per column."""
    words = ["sacctmgr", "--noheader", "--parsable2", "--readonly", "show", what, *filter(None, [which])]
    rows = (line.split("|") for line in ask(*words, f"format={columns}").splitlines())
    return [row for row in rows if len(row) == columns.count(",") + 1]


def _count(text: str) -> int | None:
    """A limit as sacctmgr prints it; None: no limit."""
    return int(text) if text.isdigit() else None
