"""Whether an OAR cluster can give what a profile asks: hosts, GPUs, wall-time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence

from orchestrator.config import ClusterProfile
from orchestrator.doctor.finding import Finding, Group
from orchestrator.errors import OrchestratorError
from orchestrator.site import last_words, missing
from orchestrator.site.oar import COMMANDS, Host, read_site

_HERE = Group("OAR")


def findings(profile: ClusterProfile) -> Iterator[Finding]:
    """Yield the findings, each as soon as it is known."""
    if gone := missing(COMMANDS):
        remedy = "run this on a frontend of the cluster"
        yield _HERE.wrong("commands", f"{', '.join(gone)} not on PATH", remedy)
        return
    matching = _option(profile, "property", "properties", "p")
    try:
        site = read_site()
        chosen = read_site(matching) if matching else site
    except OrchestratorError as error:
        remedy = "it is down: try again in a minute"
        yield _HERE.wrong(
            "server", last_words(error), f"mend `property`, or {remedy}" if matching else remedy
        )
        return
    yield _HERE.ok(
        "server", f"answers{f': OAR {site.version}' if site.version else ''}, {len(site.hosts)} hosts"
    )
    there = ", ".join(
        f"{name or 'unnamed'} ({_kinds(hosts)})" for name, hosts in sorted(site.clusters.items())
    )
    if not chosen.hosts:
        what = f'property = "{matching}": no host has it' if matching else "no hosts"
        remedy = f"mend it: clusters here: {there}" if there else "ask the site's support"
        yield _HERE.wrong("hosts", what, remedy)
        return
    yield _gpus(profile, chosen.hosts, matching, there)
    yield _walltime(profile, chosen.hosts)
    if "besteffort" in _types(profile) and not any(host.besteffort for host in chosen.hosts):
        yield _HERE.wrong("besteffort", "these hosts take no such jobs", 'leave type = "besteffort" out')
    if shutil.which("usagepolicycheck"):
        yield _HERE.ok("charter", "`usagepolicycheck -t` on this host tells how much of your quota is left")


def _gpus(profile: ClusterProfile, hosts: Sequence[Host], matching: str, there: str) -> Finding:
    able = [host for host in hosts if host.gpus >= profile.gpus]
    usable = sum(host.usable for host in able)
    where = f'of "{matching}"' if matching else "in all"
    if len(able) < profile.hosts:
        says = (
            f"{profile.gpus} a host × {profile.hosts}: {len(able)} hosts {where} have them ({_kinds(hosts)})"
        )
        most = max(host.gpus for host in hosts)
        remedy = f"gpus = {most}" if most else f"another property; clusters here: {there}"
        return _HERE.wrong("GPUs", says, remedy)
    says = f"{profile.gpus} a host: {len(able)} hosts {where} have them, {usable} of those in service"
    if fewer := len(hosts) - len(able):
        says += f"; {fewer} with fewer are left aside"
    if usable < profile.hosts:
        return _HERE.warning("GPUs", says, "jobs wait until hosts are back")
    return _HERE.ok("GPUs", says)


def _walltime(profile: ClusterProfile, hosts: Sequence[Host]) -> Finding:
    limits = [host.walltime_min for host in hosts]
    longest = max(profile.walltime_min, profile.walltime_max_min or 0.0)
    if limits and all(limit is not None and limit < longest for limit in limits):
        limit = max(limit for limit in limits if limit is not None)
        says = f"{longest:g} min: these hosts take {limit:g} at the most"
        return _HERE.wrong("wall-time", says, f"walltime_min = {limit:g}")
    return _HERE.ok("wall-time", f"{longest:g} min: no host says less; a queue may, and then oarsub tells")


def _types(profile: ClusterProfile) -> list[str]:
    return _option(profile, "type", "types", "t").split()


def _option(profile: ClusterProfile, *names: str) -> str:
    """The value of an option of the profile that may have any of several names; "" if it is not set."""
    return next((str(value) for name, value in profile.options.items() if name.lstrip("-") in names), "")


def _kinds(hosts: Sequence[Host]) -> str:
    """The hosts by their GPUs, as "8 × 4 A100-SXM4-40GB": eight hosts with four GPUs each."""
    kinds: dict[tuple[int, str], int] = {}
    for host in hosts:
        kinds[host.gpus, host.gpu_type] = kinds.get((host.gpus, host.gpu_type), 0) + 1
    return ", ".join(
        f"{count} × {gpus} {kind or 'GPUs'}" if gpus else f"{count} without GPUs"
        for (gpus, kind), count in sorted(kinds.items(), reverse=True)
    )
