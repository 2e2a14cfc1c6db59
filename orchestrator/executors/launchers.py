"""Variables that launchers of parallel programs, torchrun or mpirun, set in the processes that they start.

A master that was itself started by one, or from a shell within a job, must not hand them to evaluations:
these would take themselves for a part of that program, and wait for the others.
"""

from __future__ import annotations

from collections.abc import Mapping

_NAMES = {
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK",
    "ROLE_WORLD_SIZE", "ROLE_NAME", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT",
}  # fmt: skip
_PREFIXES = ("PMI_", "PMIX_", "OMPI_", "MPI_LOCAL", "MPIRUN_", "MV2_COMM_", "HYDRA_", "TORCHELASTIC_", "PET_")


def without_launchers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without the variables of launchers."""
    return {k: v for k, v in environment.items() if k not in _NAMES and not k.startswith(_PREFIXES)}
