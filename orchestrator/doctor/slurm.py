"""Whether a SLURM cluster can give what a profile asks: partitions, GPUs, limits, accounts."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator import executors
from orchestrator.config import ClusterProfile
from orchestrator.config.profile import resources
from orchestrator.doctor.finding import Finding, Mark
from orchestrator.doctor.slurm_asked import able, asked_gpus, option
from orchestrator.doctor.slurm_limits import HERE, at_once, charged, master
from orchestrator.errors import OrchestratorError, near
from orchestrator.executors.slurm.reasons import lines_to_mend
from orchestrator.site import ask, last_words, missing
from orchestrator.site.slurm import COMMANDS, Partition, SlurmSite, read_site


def findings(profile: ClusterProfile) -> Iterator[Finding]:
    """Yield the findings, each as soon as it is known."""
    if gone := missing(COMMANDS):
        remedy = "run this on a login node of the cluster; some sites want `module load slurm` first"
        yield HERE.wrong("commands", f"{', '.join(gone)} not on PATH", remedy)
        return
    try:
        site = read_site()
    except OrchestratorError as error:
        yield HERE.wrong("controller", last_words(error), "it is down or overloaded: try again in a minute")
        return
    yield HERE.ok("controller", f"answers: SLURM {site.version}, cluster {site.name}")
    yield _accounting(site)
    partitions = []
    for name in _partition_names(profile, site):
        if (partition := site.partition(name)) is None:
            known = [one.name for one in site.partitions]
            yield HERE.wrong(
                "partition",
                f'no partition "{name}"{near(name, known)}',
                _others(profile, site, "`sinfo` lists them"),
            )
        else:
            partitions.append(partition)
    if not partitions:
        if not _partition_names(profile, site):
            remedy = f"name one under [options]: {_others(profile, site, '`sinfo` lists them')}"
            yield HERE.wrong("partition", "none in the profile, and the site has no default one", remedy)
        return
    yield from _of_partitions(profile, site, partitions)
    yield from at_once(profile, site, partitions)
    yield from charged(profile, site, partitions)
    yield from master(profile, site)
    yield _tried(profile)


def _accounting(site: SlurmSite) -> Finding:
    """Whether there is accounting, and whether it answers."""
    if not site.accounting:
        return HERE.ok("accounting", "off: not needed, squeue and the result files tell what became of a job")
    try:
        ask("sacct", "--noheader", "--allocations", "--starttime=now")
    except OrchestratorError as error:
        return HERE.warning(
            "accounting", f"sacct: {last_words(error)}", "nothing to do: it is asked again now and then"
        )
    return HERE.ok("accounting", "on: sacct answers")


def _partition_names(profile: ClusterProfile, site: SlurmSite) -> list[str]:
    """The partitions that the profile names, else the default one; empty if there is none."""
    named = option(profile, "partition")
    if named is None:
        return [site.default.name] if site.default else []
    return [name.strip() for name in named.split(",")]


def _of_partitions(
    profile: ClusterProfile, site: SlurmSite, partitions: Sequence[Partition]
) -> Iterator[Finding]:
    """Yield the findings on each partition; if one has no error, errors of the others become warnings.

    Of several partitions SLURM takes one that can run the job.
    """
    found = {one.name: list(_of_partition(profile, site, one)) for one in partitions}
    one_will_do = any(all(f.mark is not Mark.WRONG for f in these) for these in found.values())
    for these in found.values():
        for finding in these:
            lesser = one_will_do and finding.mark is Mark.WRONG
            yield replace(finding, mark=Mark.WARNING) if lesser else finding


def _of_partition(profile: ClusterProfile, site: SlurmSite, partition: Partition) -> Iterator[Finding]:
    """Yield whether a partition can give what the profile asks."""
    name = partition.name
    if not partition.up:
        yield HERE.wrong("partition", f"{name} is not up", _others(profile, site, "`sinfo` lists them"))
    else:
        default = " (the default)" if option(profile, "partition") is None else ""
        preempted = f"; its jobs may be preempted ({partition.preempt})" if partition.preempt != "off" else ""
        yield HERE.ok(
            "partition", f"{name}{default}: {len(partition.hosts)} hosts, {_kinds(partition)}{preempted}"
        )
    yield _gpus(profile, site, partition)
    if (most := partition.most_hosts) is not None and most < profile.hosts:
        yield HERE.wrong("hosts", f"hosts = {profile.hosts}: {name} gives a job {most}", f"hosts = {most}")
    yield _walltime(profile, site, partition)


def _gpus(profile: ClusterProfile, site: SlurmSite, partition: Partition) -> Finding:
    gpus, kind = asked_gpus(profile)
    feature = option(profile, "constraint")
    asked = f"{gpus} {kind + ' ' if kind else ''}GPUs a host{f' with {feature}' if feature else ''}"
    hosts = able(profile, partition)
    if len(hosts) < profile.hosts:
        says = f"{asked} × {profile.hosts}: {partition.name} has {_kinds(partition)}"
        most = max(site.partitions, key=lambda one: one.gpus)
        remedy = f"no partition has such hosts: ask for less; {most.name} has {_kinds(most)}"
        return HERE.wrong("GPUs", says, _others(profile, site, remedy))
    usable = sum(host.usable for host in hosts)
    says = f"{asked}: {len(hosts)} hosts of {partition.name} have them, {usable} of those in service"
    if not gpus:
        says = f"none asked for; {usable} hosts of {partition.name} in service"
    if usable < profile.hosts:
        return HERE.warning("GPUs", says, "jobs wait until hosts are back: `sinfo -R` says why they are not")
    return HERE.ok("GPUs", says)


def _walltime(profile: ClusterProfile, site: SlurmSite, partition: Partition) -> Finding:
    limit = partition.walltime_min
    if limit is None:
        return HERE.ok("wall-time", f"{profile.walltime_min:g} min: {partition.name} has no limit")
    if profile.walltime_min > limit:
        says = f"walltime_min = {profile.walltime_min:g}: {partition.name} allows {limit:g}"
        return HERE.wrong(
            "wall-time",
            says,
            " or ".join([f"walltime_min = {limit:g}", *filter(None, [_others(profile, site, "")])]),
        )
    if profile.walltime_max_min is not None and profile.walltime_max_min > limit:
        says = f"walltime_max_min = {profile.walltime_max_min:g}: {partition.name} allows {limit:g}"
        return HERE.wrong("wall-time", says, f"walltime_max_min = {limit:g}")
    return HERE.ok("wall-time", f"{profile.walltime_min:g} min: {partition.name} allows {limit:g}")


def _tried(profile: ClusterProfile) -> Finding:
    """What `sbatch --test-only` says about a job script: it is checked, and not submitted."""
    with tempfile.TemporaryDirectory() as name:
        folder = profile.runs_path / "doctor" / "jobs" / "doctor"
        executor = executors.create(profile.scheduler, resources(profile))
        script = Path(name) / "doctor.sh"
        script.write_text(executor.preview([folder / "attempt-1"], "doctor", folder), encoding="utf-8")
        try:
            said = ask("sh", "-c", 'exec sbatch --test-only "$0" 2>&1', str(script))
        except OrchestratorError as error:
            said = re.sub(r"^sh failed \(exit code \d+\): |sbatch: ", "", last_words(error))
            lines = lines_to_mend(str(error)) or "[options]"
            return HERE.wrong("submission", f"sbatch: {said}", f"look at {lines} in the profile")
    words = said.strip().splitlines()[-1].removeprefix("sbatch: ") if said.strip() else ""
    start = words.partition(" to start at ")[2].partition(" using")[0].replace("T", " ")
    return HERE.ok("submission", f"sbatch would take it; it could start at {start}" if start else words)


def _kinds(partition: Partition) -> str:
    """The GPUs of the hosts of a partition, as "4 × a100, no GPUs"."""
    kinds = sorted({(host.gpus, host.gpu_type) for host in partition.hosts}, reverse=True)
    return ", ".join(f"{n} × {kind or 'GPU'}" if n else "no GPUs" for n, kind in kinds[:4]) or "no hosts"


def _others(profile: ClusterProfile, site: SlurmSite, otherwise: str) -> str:
    """A remedy: the partitions that can run such jobs; `otherwise` if there is none."""
    fit = [
        f'"{one.name}"'
        for one in site.partitions
        if one.up
        and len(able(profile, one)) >= profile.hosts
        and (one.walltime_min is None or one.walltime_min >= profile.walltime_min)
    ]
    return f"partition = {' or '.join(fit[:6])}" if fit else otherwise
