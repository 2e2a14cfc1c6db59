"""What a probe job found on its host, and what that means for studies."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.inputs import memory, require_prepared
from jobs.probe import PACKAGES, versions
from orchestrator.config import ClusterProfile, StudySpec
from orchestrator.contract import LitGPTEvaluation
from orchestrator.doctor.finding import Finding, Group
from orchestrator.doctor.storage import trials
from orchestrator.errors import InputError

HERE = Group("Job on a host")
_SKEW_S = 5.0  # between two clocks
_TEMPORARY_GB = 10.0  # that should be free for temporary files


@dataclass(frozen=True, slots=True)
class Delays:
    """How late files show on the other side, and how far the clocks are apart; in seconds.

    The clocks are not synchronised, so their difference is estimated as in NTP (RFC 5905, section 8): in the
    quickest exchange both directions are assumed to take equally long. From this difference follows the delay
    in each direction of every exchange.

    Attributes:
        to_login: the longest delay until the login node sees a file that the host wrote.
        to_host: the longest delay in the other direction.
        host_ahead: how far the host's clock is ahead of the login node's; negative: behind.
        host_ahead_within: the largest possible error of `host_ahead`, half of the quickest round trip.
    """

    to_login: float
    to_host: float
    host_ahead: float
    host_ahead_within: float

    @classmethod
    def of(cls, exchanges: Sequence[Mapping[str, float]]) -> Delays:
        """Compute the delays.

        Args:
            exchanges: at least one; each holds times in seconds since the epoch, "sent" and "back" by the
                host's clock, "seen" and "answered" by the login node's.
        """

        def ways(one: Mapping[str, float]) -> float:
            """Seconds that both directions of an exchange took together."""
            return (one["back"] - one["sent"]) - (one["answered"] - one["seen"])

        quick = min(exchanges, key=ways)
        ahead = ((quick["sent"] - quick["seen"]) + (quick["back"] - quick["answered"])) / 2
        return cls(
            to_login=max(one["seen"] - one["sent"] + ahead for one in exchanges),
            to_host=max(one["back"] - one["answered"] - ahead for one in exchanges),
            host_ahead=ahead,
            host_ahead_within=max(0.0, ways(quick) / 2),
        )


def judged(
    profile: ClusterProfile, facts: Mapping[str, Any], waited_s: float, spec: StudySpec | None = None
) -> Iterator[Finding]:
    """Yield what the facts that a probe job found mean for studies.

    Args:
        profile: the one that the job ran under.
        facts: what the job wrote (see `jobs.probe.facts.probe`).
        waited_s: how long the job waited in the queue, in seconds.
        spec: a study to check too; None: none.
    """
    yield HERE.ok("job", f"{facts['job']} ran on {facts['host']}, {waited_s:.0f} s after its submission")
    if facts["exchanges"]:
        yield from _of_delays(profile, Delays.of(facts["exchanges"]))
    else:
        says = f"nothing that this host wrote showed on {facts['host']} within two minutes"
        yield HERE.wrong("files", says, "choose a shared_dir on a filesystem that both see")
    yield from trials(HERE, facts["storage"])
    if facts["lock_is_seen"] is False:
        says = f"one held here is not seen on {facts['host']}: {facts['filesystem']} mounted without flock"
        yield HERE.warning("locks", says, "start masters of one study from one login node only")
    yield from _of_python(facts)
    yield from _of_devices(profile, facts["devices"])
    if spec is not None:
        yield from _of_weights(profile, facts["devices"].get("gpus", []), spec)
    free_gb = facts["temporary_free_bytes"] / 1e9
    says = f"{facts['cores']} cores, {facts['memory_bytes'] / 1e9:.0f} GB; "
    says += f"{free_gb:.0f} GB free in {facts['temporary']}"
    if free_gb < _TEMPORARY_GB:
        remedy = 'a larger one under [environment], as TMPDIR = "/scratch"'
        yield HERE.warning("host", says, remedy)
    else:
        yield HERE.ok("host", says)
    reaches = "huggingface.co answers" if facts["reaches_hub"] else "no way out to huggingface.co"
    yield HERE.ok("network", f"{reaches}: evaluations need none, `orchestrator prepare` fetches before")
    if given := facts["environment"]:
        yield HERE.ok("environment", ", ".join(f"{name}={value}" for name, value in given.items()))


def _of_delays(profile: ClusterProfile, delays: Delays) -> Iterator[Finding]:
    says = (
        f"what a host writes shows here after {delays.to_login:.2f} s, the other way {delays.to_host:.2f} s"
    )
    if delays.to_login > profile.grace_s:
        remedy = f"grace_s = {2 * delays.to_login:.0f}: a result is looked for so long after its job ended"
        yield HERE.wrong("files", f"{says}; grace_s = {profile.grace_s:g}", remedy)
    else:
        yield HERE.ok("files", says)
    skew = f"{abs(delays.host_ahead):.2f} s {'ahead' if delays.host_ahead > 0 else 'behind'}"
    skew += f" (± {delays.host_ahead_within:.2f})"
    if abs(delays.host_ahead) - delays.host_ahead_within > _SKEW_S:
        yield HERE.warning("clock", f"the host's is {skew}", "tell the site: times in tables will look odd")
    else:
        yield HERE.ok("clock", f"the host's is {skew}")


def _of_python(facts: Mapping[str, Any]) -> Iterator[Finding]:
    here = {"python": platform.python_version(), **versions(PACKAGES)}
    there = {"python": facts["python"], **facts["versions"]}
    differ = [
        f"{name} {there.get(name, 'missing')}, here {here.get(name, 'missing')}"
        for name in {**here, **there}
        if there.get(name) != here.get(name)
    ]
    if differ:
        says = f"{facts['interpreter']} has {'; '.join(differ)}"
        yield HERE.wrong(
            "packages", says, "`setup` lines or PYTHONPATH under [environment] change what jobs import"
        )
    else:
        yield HERE.ok(
            "packages", "as here: " + ", ".join(f"{name} {version}" for name, version in there.items())
        )


def _of_devices(profile: ClusterProfile, devices: Mapping[str, Any]) -> Iterator[Finding]:
    gpus = devices.get("gpus", [])
    kinds = ", ".join(sorted({f"{gpu['name']} {gpu['memory_bytes'] / 1e9:.0f} GB" for gpu in gpus}))
    says = f"{len(gpus)} × {kinds}, CUDA {devices.get('cuda')}" if gpus else "torch sees none"
    if "error" in devices:
        remedy = (
            "the driver there does not fit this torch: another CUDA build, or a `module load` under `setup`"
        )
        mark = HERE.wrong if profile.gpus or not gpus else HERE.warning
        yield mark("GPUs", devices["error"], remedy)
    elif len(gpus) < profile.gpus:
        build = "" if devices.get("cuda") else "; it is a build without CUDA"
        remedy = "install torch with CUDA" if build else "look at [options]: does the job ask for them?"
        yield HERE.wrong("GPUs", f"gpus = {profile.gpus}: {says}{build}", remedy)
    else:
        yield HERE.ok("GPUs", says if gpus else "none asked for")


def _of_weights(
    profile: ClusterProfile, gpus: Sequence[Mapping[str, Any]], spec: StudySpec
) -> Iterator[Finding]:
    """Yield whether the GPUs of a trial can hold the study's model; nothing where that cannot be known."""
    evaluation = spec.evaluation
    if not isinstance(evaluation, LitGPTEvaluation) or not gpus:
        return
    try:
        expected = memory.expected_bytes(evaluation, require_prepared(evaluation, profile.cache_path))
    except (InputError, OSError, RuntimeError):
        return  # `check` and `prepare` report it
    smallest = min(gpu["memory_bytes"] for gpu in gpus)
    of_trial = max(1, profile.hosts * profile.gpus // profile.trials_per_job)
    in_shards = False if evaluation.quantize else evaluation.sharded
    if what := memory.problem(expected, smallest, of_trial, in_shards=in_shards):
        yield HERE.wrong("memory", *what)
    else:
        yield HERE.ok("memory", f"the model's weights take about {expected / 1e9:.3g} GB")
