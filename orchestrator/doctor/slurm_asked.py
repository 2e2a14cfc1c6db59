"""What a profile asks of SLURM's hosts, whichever of several options it uses for it."""

from __future__ import annotations

import os
import re

from orchestrator.config import ClusterProfile
from orchestrator.site.slurm import Host, Partition, gpus_of


def option(profile: ClusterProfile, name: str) -> str | None:
    """The value of an option of the profile, else of the variable SBATCH_… that means the same; else None.

    Args:
        profile: its options may be written with dashes, as "--gpus-per-node".
        name: the option, written with underscores.
    """
    for written, value in profile.options.items():
        if written.lstrip("-").replace("-", "_") == name:
            return str(value)
    return os.environ.get(f"SBATCH_{name.upper()}")


def asked_gpus(profile: ClusterProfile) -> tuple[int, str]:
    """The GPUs asked for on each host, and their type ("": any), from an option, else from `gpus`."""
    for name in ("gres", "gpus_per_node", "gpus"):
        if (text := option(profile, name)) is not None:
            text = text if name == "gres" else f"gpu:{text}"
            count, kind = gpus_of(text)
            return (-(-count // profile.hosts) if name == "gpus" else count), kind
    return profile.gpus, ""


def able(profile: ClusterProfile, partition: Partition) -> list[Host]:
    """The hosts of `partition` with the GPUs, the GPU type and the feature that the profile asks for."""
    gpus, kind = asked_gpus(profile)
    fit = [host for host in partition.with_gpus(gpus) if not kind or host.gpu_type in ("", kind)]
    feature = option(profile, "constraint") or ""
    if not re.fullmatch(r"[\w.-]+", feature):  # none, or an expression, which only SLURM can read
        return fit
    return [host for host in fit if feature in host.features]
