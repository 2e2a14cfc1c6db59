"""Fixtures every test may ask for."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

from tests.clusters.fixtures import (
    oar,
    oar_cluster,
    slurm,
    slurm_accounting,
    slurm_cluster,
    slurm_cluster_accounting,
    slurm_cluster_limits,
    slurm_limits,
)

__all__ = [
    "oar",
    "oar_cluster",
    "slurm",
    "slurm_accounting",
    "slurm_cluster",
    "slurm_cluster_accounting",
    "slurm_cluster_limits",
    "slurm_limits",
]

LONGEST = ("test_study_llm.py", "test_master_job_slurm.py", "test_interrupted.py", "test_human_eval.py")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep OAR's tests in one process: a machine can have but one OAR.

    Said as soon as a test is found: xdist reads groups before this file may look at all tests.
    """
    if "oar_cluster" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.xdist_group("oar"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, then whole studies, lest one of them is left alone at the end."""
    items.sort(key=lambda item: (item.path.name not in LONGEST, item.path.parent.name != "whole"))


# No example is timed: machines that run tests may be busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell that starts the suite in the background has it ignore Ctrl-C, and so would the programs under test.
signal.signal(signal.SIGINT, signal.default_int_handler)
