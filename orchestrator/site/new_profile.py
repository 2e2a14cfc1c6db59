"""Writing a profile for the cluster at hand, from what its scheduler says about it."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.config.profile import own_folder
from orchestrator.errors import InputError, OrchestratorError, near
from orchestrator.site import oar, slurm
from orchestrator.site.draft import WALLTIME_MIN, Draft


def write(
    name: str, *, partition: str | None = None, cluster: str | None = None, shared_dir: Path | None = None
) -> tuple[Path, list[str]]:
    """Write a new profile to the folder of the user's own profiles.

    Args:
        name: of the profile, without the ending ".toml".
        partition: a SLURM partition; None: the one that fits best.
        cluster: the property `cluster` of OAR's resources; None: the one that fits best.
        shared_dir: a directory that the hosts see too; None: it is guessed.

    Returns:
        The path of the profile, and remarks on what the user should look at.

    Raises:
        InputError: the name cannot be used, a profile of that name exists, it cannot be written, or there is
            no such partition or cluster.
        SchedulerError: there is a scheduler, and it does not answer.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name.endswith(".toml"):
        raise InputError(f'profile name "{name}": letters, digits and _ . - are allowed, and no ending')
    path = own_folder() / f"{name}.toml"
    if path.exists():
        raise InputError(f"{path}: exists already, and is left as it is: give another name, or remove it")
    draft = _draft(partition, cluster, shared_dir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(draft.text)
    except FileExistsError:
        raise InputError(f"{path}: exists already, and is left as it is: give another name") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    return path, draft.remarks


def _draft(partition: str | None, cluster: str | None, shared_dir: Path | None) -> Draft:
    """A profile for the first scheduler that is here and answers; for this machine alone if none is here."""
    if partition is not None and cluster is not None:
        raise InputError("give either --partition (SLURM) or --cluster (OAR)")
    makers: dict[str, tuple[str, Callable[[], Draft]]] = {
        "slurm": ("sbatch", lambda: _slurm(partition, shared_dir)),
        "oar": ("oarsub", lambda: _oar(cluster, shared_dir)),
    }
    wanted = "slurm" if partition is not None else "oar" if cluster is not None else None
    silent: OrchestratorError | None = None
    for scheduler, (command, make) in makers.items():
        if wanted in (None, scheduler) and shutil.which(command) is not None:
            try:
                return make()
            except InputError:
                raise
            except OrchestratorError as error:  # the commands may be here without their scheduler
                silent = silent or error
    if silent is not None:
        raise silent
    if wanted is not None:
        raise InputError(f"{makers[wanted][0]} is not on PATH: run this on a login node of the cluster")
    return _local(shared_dir)


def _slurm(name: str | None, shared_dir: Path | None) -> Draft:
    """A profile for the SLURM partition `name`; None: the one that fits best."""
    site = slurm.read_site()
    chosen = _partition(site, name)
    gpus, kind = _usual([(host.gpus, host.gpu_type) for host in chosen.with_gpus(1)])
    able = [host for host in chosen.with_gpus(gpus) if host.usable]
    draft = Draft(f"SLURM cluster {site.name}, partition {chosen.name}: `orchestrator profiles new`.")
    what = f"{gpus} × {kind or 'GPU'}" if gpus else "no GPU"
    draft.add("description", f"{site.name}, {chosen.name}: {what} per evaluation", "shown by `profiles`")
    draft.add("scheduler", "slurm", f"sbatch is here, SLURM {site.version}")
    draft.add_shared_dir(shared_dir)
    draft.add("hosts", 1, "an evaluation is one process")
    draft.add("gpus", gpus, f"per host; sinfo: {len(able)} hosts of {chosen.name} in service have as many")
    limit = chosen.walltime_min
    draft.walltime(limit, f"{chosen.name} {'has no limit' if limit is None else f'allows {limit:g}'}")
    draft.jobs(len(able), f"{len(able)} such hosts; arrays of at most {site.largest_array}")
    draft.option("partition", chosen.name, _others([one.name for one in site.partitions], chosen.name))
    accounts = sorted({one.account for one in site.associations or ()})
    if len(accounts) == 1:
        draft.option("account", accounts[0], "sacctmgr: your only one")
    else:
        source = (
            f"EDIT: sacctmgr: yours are {', '.join(accounts)}" if accounts else "if the site charges jobs"
        )
        draft.option("account", accounts[0] if accounts else "my-project", source, chosen=False)
        if accounts:
            draft.remarks.append(f"account: you have {', '.join(accounts)}; SLURM takes your default one")
    draft.option("qos", "normal", "if the site wants one: `sacctmgr show qos`", chosen=False)
    if gpus == 0:
        draft.remarks.append("gpus = 0: no partition that is up has GPUs")
    if chosen.preempt != "off":
        draft.remarks.append(
            f"jobs of {chosen.name} may be preempted ({chosen.preempt}): they are submitted again"
        )
    return draft


def _partition(site: slurm.SlurmSite, name: str | None) -> slurm.Partition:
    """The partition `name`; if it is None, the best one that is up.

    The first of these that differs decides: it has usable hosts with GPUs, it allows an evaluation's
    wall-time, its jobs are not preempted, it is the default, and how many such hosts it has.
    """
    if name is not None:
        if (named := site.partition(name)) is None:
            known = [one.name for one in site.partitions]
            raise InputError(f'--partition: no partition "{name}"{near(name, known)}')
        return named

    def worth(one: slurm.Partition) -> tuple[bool, ...] | tuple[bool | float, ...]:
        able = sum(host.usable for host in one.with_gpus(1))
        enough = one.walltime_min is None or one.walltime_min >= WALLTIME_MIN
        return able > 0, enough, one.preempt == "off", one.default, able

    up = [one for one in site.partitions if one.up]
    if not up:
        raise InputError("no partition is up, or none shown to you: ask the site's support")
    return max(up, key=worth)


def _oar(name: str | None, shared_dir: Path | None) -> Draft:
    """A profile for the OAR cluster `name`; None: the one with the most usable hosts that have GPUs."""
    site = oar.read_site()
    clusters = site.clusters
    if name is not None and name not in clusters:
        raise InputError(f'--cluster: no cluster "{name}"{near(name, clusters)}')
    if not clusters:
        raise InputError("OAR shows no hosts: ask the site's support")
    usable = {one: sum(host.usable and host.gpus > 0 for host in own) for one, own in clusters.items()}
    chosen = name if name is not None else max(clusters, key=lambda one: usable[one])
    hosts = clusters[chosen]
    gpus, kind = _usual([(host.gpus, host.gpu_type) for host in hosts])
    able = [host for host in hosts if host.gpus >= gpus and host.usable]
    draft = Draft(f"OAR cluster {chosen or 'without a name'}: `orchestrator profiles new`.")
    what = f"{gpus} × {kind or 'GPU'}" if gpus else "no GPU"
    draft.add("description", f"{chosen or 'OAR'}: {what} per evaluation", "shown by `profiles`")
    draft.add("scheduler", "oar", f"oarsub is here{f', OAR {site.version}' if site.version else ''}")
    draft.add_shared_dir(shared_dir)
    draft.add("hosts", 1, "an evaluation is one process")
    draft.add("gpus", gpus, f"per host; oarnodes: {len(able)} of {len(hosts)} hosts have as many, in service")
    limits = [host.walltime_min for host in hosts if host.walltime_min is not None]
    limit = min(limits) if limits else None
    draft.walltime(limit, "oarnodes names no limit" if limit is None else f"oarnodes: {limit:g} at the most")
    draft.jobs(len(able), f"{len(able)} such hosts")
    draft.option("queue", "default", _others(list(clusters), chosen))
    if chosen:
        draft.option("property", f"cluster='{chosen}'", "an SQL condition on OAR's resources")
    free = any(host.besteffort for host in hosts)
    draft.option(
        "type", "besteffort", f"{'taken' if free else 'not taken'} here: may be ended any time", chosen=False
    )
    if all(host.name.endswith(".grid5000.fr") for host in hosts):
        draft.charter = _grid5000(hosts)
        draft.remarks.append("charter: Grid'5000's, as far as known; see its usage policy")
    return draft


def _grid5000(hosts: Sequence[oar.Host]) -> list[str]:
    """The lines of a [charter] section with Grid'5000's usage policy, as far as it is known."""
    cores = _usual([(host.cores, "") for host in hosts])[0]
    return [
        "# Grid'5000's usage policy, second-hand: read the current one, and `usagepolicycheck -t`.",
        "[charter]",
        'timezone = "Europe/Paris"',
        f"daily_core_hours = {2 * sum(host.cores for host in hosts)}  # 2 h of the whole cluster a day",
        f"cores_per_host = {cores}  # oarnodes",
        'exempt = ["besteffort", "night"]',
    ]


def _local(shared_dir: Path | None) -> Draft:
    """A profile for this machine, without a scheduler."""
    draft = Draft("This machine: `orchestrator profiles new` found neither sbatch nor oarsub.")
    gpus = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    draft.add("description", "this machine, no scheduler", "shown by `profiles`")
    draft.add("scheduler", "local", "neither sbatch nor oarsub is here")
    draft.add("shared_dir", str(shared_dir) if shared_dir else ".", "runs/ and cache/ appear in it")
    draft.add("gpus", min(1, gpus), f"per evaluation; the driver shows {gpus}")
    draft.walltime(None, "as you like")
    draft.add("max_jobs", max(1, gpus), "evaluations at once")
    draft.add("poll_s", 1, "seconds between two looks")
    draft.add("grace_s", 2, "a local disk shows a result at once")
    draft.remarks.append(
        "neither sbatch nor oarsub is on PATH: this profile runs evaluations on this machine"
    )
    return draft


def _usual(kinds: Sequence[tuple[int, str]]) -> tuple[int, str]:
    """The most frequent (number, type); of equally frequent ones the largest; (0, "") if there is none."""
    count = Counter(kinds)
    return max(count, key=lambda one: (count[one], one), default=(0, ""))


def _others(names: Sequence[str], chosen: str) -> str:
    """A comment that names up to eight alternatives to `chosen`."""
    others = [name for name in names if name and name != chosen]
    return f"also there: {', '.join(others[:8])}" if others else "the only one"
