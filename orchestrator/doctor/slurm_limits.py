"""Whether a SLURM site lets this user run as many jobs, and charge them, as a profile asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.config import ClusterProfile
from orchestrator.doctor.finding import Finding, Group
from orchestrator.doctor.slurm_asked import able, asked_gpus, option
from orchestrator.errors import near
from orchestrator.site.slurm import Association, Partition, SlurmSite

HERE = Group("SLURM")


def at_once(profile: ClusterProfile, site: SlurmSite, partitions: Sequence[Partition]) -> Iterator[Finding]:
    """Yield what keeps `max_jobs` jobs from running, or being queued, at once; nothing if all is well."""
    hosts = {host.name for one in partitions for host in able(profile, one)}
    if hosts and profile.max_jobs * profile.hosts > len(hosts) and asked_gpus(profile)[0]:
        says = f"max_jobs = {profile.max_jobs}: {len(hosts)} hosts could run them"
        yield HERE.warning(
            "jobs at once", says, "the rest waits in the queue; max_jobs is what you want busy"
        )
    limits = [("accounting", one.most_submitted) for one in _associations(profile, site)]
    limits += [
        (f"QOS {one.name}", one.most_submitted) for one in site.qos if one.name == option(profile, "qos")
    ]
    limits.append(("MaxArraySize", site.largest_array))
    for whose, most in limits:
        if most is not None and most < profile.max_jobs:
            says = f"max_jobs = {profile.max_jobs}: {whose} allows {most}"
            yield HERE.warning(
                "jobs at once", says, f"they are handed in by parts; max_jobs = {most} says as much"
            )


def charged(profile: ClusterProfile, site: SlurmSite, partitions: Sequence[Partition]) -> Iterator[Finding]:
    """Yield whether this user may use the account and the QOS, as far as accounting can be read."""
    account, qos = option(profile, "account"), option(profile, "qos")
    own = site.associations
    if own is None:
        if account or qos:
            yield HERE.ok(
                "account", f"{account or 'default'}, QOS {qos or 'default'}: not checked, nothing to read"
            )
        return
    accounts = sorted({one.account for one in own})
    if account is not None and account not in accounts:
        known = f"yours: {', '.join(accounts)}" if accounts else "you have none: ask the site's support"
        mark = HERE.wrong if "associations" in site.enforced else HERE.warning
        yield mark(
            "account", f'no account "{account}" of yours{near(account, accounts) if accounts else ""}', known
        )
    elif not accounts and "associations" in site.enforced:
        yield HERE.wrong("account", "the site wants one and you have none", "ask the site's support")
    elif accounts:
        yield HERE.ok(
            "account", account or f"none named: SLURM takes your default one of {', '.join(accounts)}"
        )
    if qos is not None and (why := _qos_problem(qos, profile, site, partitions)):
        yield HERE.wrong("QOS", *why)


def master(profile: ClusterProfile, site: SlurmSite) -> Iterator[Finding]:
    """Yield whether the partition of the master's own jobs exists and allows their wall-time."""
    if profile.master is None:
        return
    options = profile.master.options or profile.options
    name = str(options.get("partition", site.default.name if site.default else ""))
    if (partition := site.partition(name)) is None:
        says = f'no partition "{name}"{near(name, [one.name for one in site.partitions])}'
        yield HERE.wrong("master", says, "mend master.options.partition")
    elif partition.walltime_min is not None and partition.walltime_min < profile.master.walltime_min:
        says = (
            f"master.walltime_min = {profile.master.walltime_min:g}: {name} allows {partition.walltime_min:g}"
        )
        yield HERE.wrong("master", says, f"master.walltime_min = {partition.walltime_min:g}")
    else:
        yield HERE.ok("master", f"its jobs of {profile.master.walltime_min:g} min go to {name}")


def _qos_problem(
    qos: str, profile: ClusterProfile, site: SlurmSite, partitions: Sequence[Partition]
) -> tuple[str, str] | None:
    """Why the QOS cannot be used, and what to do; None if it can."""
    known = {one.name: one for one in site.qos}
    if qos not in known:
        return f'no QOS "{qos}"{near(qos, known)}', "`sacctmgr show qos` lists them"
    allowed = {name for one in _associations(profile, site) for name in one.qos}
    if allowed and qos not in allowed and "qos" in site.enforced:
        return f"{qos} is not for your account", f"one of {', '.join(sorted(allowed))}"
    if refusing := [one.name for one in partitions if one.qos is not None and qos not in one.qos]:
        return f"{qos} is not for partition {', '.join(refusing)}", "another QOS or partition"
    limit = known[qos].walltime_min
    if limit is not None and profile.walltime_min > limit:
        return f"walltime_min = {profile.walltime_min:g}: {qos} allows {limit:g}", f"walltime_min = {limit:g}"
    return None


def _associations(profile: ClusterProfile, site: SlurmSite) -> list[Association]:
    """The user's associations with the account that the profile names; all of them if it names none."""
    account = option(profile, "account")
    return [one for one in site.associations or () if account in (None, one.account)]
