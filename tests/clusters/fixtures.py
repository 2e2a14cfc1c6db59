"""Fixtures that bring up real clusters; `tests/conftest.py` hands them to every test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.slurm import SlurmCluster, why_not


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """4 hosts with 4 GPUs each; no accounting, so that sacct fails."""
    yield from _slurm(accounting=False)


@pytest.fixture(scope="session")
def slurm_cluster_accounting() -> Iterator[SlurmCluster]:
    """4 hosts with 4 GPUs each, with slurmdbd."""
    yield from _slurm(accounting=True)


@pytest.fixture
def slurm(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """The cluster without accounting as this process's own; afterwards jobs are cancelled, faults undone."""
    yield from _ours(slurm_cluster, monkeypatch)


@pytest.fixture
def slurm_accounting(
    slurm_cluster_accounting: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmCluster]:
    """The cluster with accounting as this process's own; afterwards jobs are cancelled, faults undone."""
    yield from _ours(slurm_cluster_accounting, monkeypatch)


def _slurm(*, accounting: bool) -> Iterator[SlurmCluster]:
    if reason := why_not(accounting=accounting):
        if os.environ.get("CI"):
            pytest.fail(f"CI must test on a real SLURM cluster: {reason}")
        pytest.skip(f"no SLURM cluster: {reason}")
    # Not pytest's own directory: the path of a unix socket has at most 107 characters.
    cluster = SlurmCluster(Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")), accounting=accounting)
    try:
        yield cluster.up()
    finally:
        cluster.down(purge=True)


def _ours(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    before = cluster.squeue()
    try:
        yield cluster
    finally:
        cluster.recover(keep=before.keys())
