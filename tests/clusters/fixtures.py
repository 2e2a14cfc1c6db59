"""Fixtures that bring up real clusters; `tests/conftest.py` hands them to every test."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import oar_machine
from tests.clusters.oar import OarCluster
from tests.clusters.slurm import DEFAULTS, Settings, SlurmCluster, why_not

QOS = {
    "submit": ("MaxSubmitJobsPerUser=2",),
    "wall": ("MaxWall=5", "flags=DenyOnLimit"),
    "cores": ("GrpTRES=cpu=1", "flags=DenyOnLimit"),
    "waitwall": ("MaxWall=5",),
    "waitcores": ("MaxTRESPerJob=cpu=1",),
    "running": ("MaxJobsPerUser=1",),
}


_OTHERS_S = 300.0  # for another session to finish with the machine's OAR


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """4 hosts with 4 GPUs each; no accounting, so that sacct fails."""
    yield from _slurm(accounting=False)


@pytest.fixture(scope="session")
def slurm_cluster_accounting() -> Iterator[SlurmCluster]:
    """4 hosts with 4 GPUs each, with slurmdbd."""
    yield from _slurm(accounting=True)


@pytest.fixture(scope="session")
def slurm_cluster_limits() -> Iterator[SlurmCluster]:
    """4 hosts with slurmdbd; arrays have fewer than 5 elements, and each QOS has the limit in its name."""
    enforced = {"MaxArraySize": "5", "AccountingStorageEnforce": "associations,limits,qos"}
    for cluster in _slurm(accounting=True, settings=enforced):
        cluster.run("sacctmgr", "-i", "add", "account", "study")
        for name, limits in QOS.items():
            cluster.run("sacctmgr", "-i", "add", "qos", name, *limits)
        cluster.run("sacctmgr", "-i", "add", "user", "root", "account=study")
        cluster.run("sacctmgr", "-i", "modify", "user", "root", "set", f"qos=normal,{','.join(QOS)}")
        yield cluster


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


@pytest.fixture
def slurm_limits(
    slurm_cluster_limits: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmCluster]:
    """The cluster with limits as this process's own; afterwards jobs are cancelled, faults undone."""
    yield from _ours(slurm_cluster_limits, monkeypatch)


def _slurm(*, accounting: bool, settings: Settings = DEFAULTS) -> Iterator[SlurmCluster]:
    if reason := why_not(accounting=accounting):
        if os.environ.get("CI"):
            pytest.fail(f"CI must test on a real SLURM cluster: {reason}")
        pytest.skip(f"no SLURM cluster: {reason}")
    # Not pytest's own directory: the path of a unix socket has at most 107 characters.
    cluster = SlurmCluster(
        Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")), accounting=accounting, settings=settings
    )
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


@pytest.fixture(scope="session")
def oar_cluster() -> Iterator[OarCluster]:
    """2 hosts with 4 GPUs each. A machine can have but one, so that another session's is waited for."""
    missing = pytest.fail if os.environ.get("CI") else pytest.skip
    try:
        held = oar_machine.hold(_OTHERS_S)
    except TimeoutError as error:
        missing(f"no OAR: {error}")
    with held:
        if reason := oar_machine.why_not():
            missing(f"no OAR: {reason}")
        cluster = OarCluster(Path(tempfile.mkdtemp(prefix="oar-", dir="/tmp")))
        try:
            yield cluster.up()
        finally:
            cluster.down(purge=True)


@pytest.fixture
def oar(oar_cluster: OarCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[OarCluster]:
    """The cluster as this process's own; afterwards jobs are deleted, faults undone.

    Its commands, and `sys.executable`, act as an ordinary user, who may write in `shared`, a fresh directory;
    what this process makes, that user may change.
    """
    for name, value in oar_cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "executable", str(oar_cluster.python))
    oar_cluster.new_shared()
    before, mask = oar_cluster.jobs(), os.umask(0)
    try:
        yield oar_cluster
    finally:
        os.umask(mask)
        oar_cluster.recover(keep=before.keys())
