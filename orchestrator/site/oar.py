"""What an OAR cluster says of itself: hosts with their GPUs, by cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import OrchestratorError, SchedulerError
from orchestrator.site import ask

COMMANDS = ("oarsub", "oarstat", "oardel", "oarnodes")


@dataclass(frozen=True, slots=True)
class Host:
    """A host, put together from its OAR resources, most of which are a core each."""

    name: str
    cluster: str  # "" where the site has no such property
    gpus: int
    gpu_type: str
    cores: int
    states: frozenset[str]  # of its resources: Alive, Absent, Suspected, Dead
    standby: bool  # Absent, and woken when a job asks for it
    besteffort: bool
    walltime_min: float | None  # of the longest job that it takes; None: no limit is known

    @property
    def usable(self) -> bool:
        """True if jobs can start on the host: all its resources are alive, or will be woken up."""
        return self.states == {"Alive"} or (self.standby and self.states <= {"Alive", "Absent"})


@dataclass(frozen=True, slots=True)
class OarSite:
    """What a cluster looks like at one time, or the hosts of it that a condition selects."""

    version: str
    hosts: tuple[Host, ...]

    @property
    def clusters(self) -> dict[str, list[Host]]:
        """Hosts by the name of their cluster."""
        found: dict[str, list[Host]] = {}
        for host in self.hosts:
            found.setdefault(host.cluster, []).append(host)
        return found


def read_site(matching: str = "") -> OarSite:
    """Ask the OAR server for its hosts.

    Args:
        matching: an SQL condition on resources, as `property` in a profile; all resources if it is empty.

    Raises:
        InputError: OAR's commands are not on PATH.
        SchedulerError: the server does not answer, rejects the condition, or does not answer in JSON.
    """
    argv = ["oarnodes", "-J", *(["--sql", matching] if matching else [])]
    text = ask(*argv)
    try:
        rows = json.loads(text or "{}")
    except ValueError:
        raise SchedulerError(f"{' '.join(argv)}: no JSON: {text.strip()[:200]}") from None
    return OarSite(_version(), _hosts(rows.values() if isinstance(rows, dict) else rows))


def _version() -> str:
    """OAR's version; "" if it does not tell."""
    try:
        words = ask("oarstat", "--version").split()
    except OrchestratorError:
        return ""
    return next((word for word in words if word[:1].isdigit()), "")


def _hosts(rows: Iterable[Mapping[str, Any]]) -> tuple[Host, ...]:
    """The hosts that OAR's resources belong to, in the order of their names."""
    resources: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("type", "default") == "default":  # not a disk, a network or a licence
            name = str(row.get("host") or row.get("network_address") or "")
            resources.setdefault(name, []).append(row)
    return tuple(_host(name, own) for name, own in sorted(resources.items()) if name)


def _host(name: str, rows: list[Mapping[str, Any]]) -> Host:
    first = rows[0]
    longest = [float(row["max_walltime"]) for row in rows if row.get("max_walltime")]
    return Host(
        name=name,
        cluster=str(first.get("cluster") or ""),
        gpus=len({gpu for row in rows if (gpu := row.get("gpu")) not in (None, "", 0, "0")}),
        gpu_type=str(first.get("gpu_model") or ""),
        cores=len({row.get("core") or row.get("resource_id") or n for n, row in enumerate(rows)}),
        states=frozenset(str(row.get("state", "")) for row in rows),
        standby=any(int(row.get("available_upto") or 0) > time.time() for row in rows),
        besteffort=any(row.get("besteffort") == "YES" for row in rows),
        walltime_min=min(longest) / 60 if longest and min(longest) > 0 else None,
    )
