"""Fixtures every test may ask for."""

from __future__ import annotations

from hypothesis import settings

from tests.clusters.fixtures import slurm, slurm_accounting, slurm_cluster, slurm_cluster_accounting

__all__ = ["slurm", "slurm_accounting", "slurm_cluster", "slurm_cluster_accounting"]

# No example is timed: machines that run tests may be busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
