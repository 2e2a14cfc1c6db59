"""What a profile asks of SLURM's hosts, in whichever of its words."""

from __future__ import annotations

import os
import re

from orchestrator.config.profile import ClusterProfile
from orchestrator.site.slurm import Host, Partition, gpus_of


def option(profile: ClusterProfile, name: str) -> str | None:
    """An option of the profile, else what the environment says in its place."""
    for written, value in profile.options.items():
        if written.lstrip("-").replace("-", "_") == name:
            return str(value)
    return os.environ.get(f"SBATCH_{name.upper()}")


def asked_gpus(profile: ClusterProfile) -> tuple[int, str]:
    """GPUs of each host and their type, by the option that asks for them, else by `gpus`."""
    for name in ("gres", "gpus_per_node", "gpus"):
        if (text := option(profile, name)) is not None:
            text = text if name == "gres" else f"gpu:{text}"
            count, kind = gpus_of(text)
            return (-(-count // profile.hosts) if name == "gpus" else count), kind
    return profile.gpus, ""


def able(profile: ClusterProfile, partition: Partition) -> list[Host]:
    """Its hosts with the GPUs, their type and the feature that are asked for."""
    gpus, kind = asked_gpus(profile)
    fit = [host for host in partition.with_gpus(gpus) if not kind or host.gpu_type in ("", kind)]
    feature = option(profile, "constraint") or ""
    if not re.fullmatch(r"[\w.-]+", feature):  # none, or an expression: SLURM's to read
        return fit
    return [host for host in fit if feature in host.features]
