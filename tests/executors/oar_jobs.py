"""Jobs on a real OAR, as its tests submit and watch them."""

from __future__ import annotations

from orchestrator.executors import JobState, State
from orchestrator.executors.oar.executor import OarExecutor
from tests.clusters.oar import OarCluster
from tests.executors.attempts import ENTRY, Run, resources

PATIENCE_S = 120.0  # OAR takes seconds for what SLURM does at once


def ended(state: JobState) -> bool:
    return state.state is State.ENDED


def running(state: JobState) -> bool:
    return state.state is State.RUNNING


def executor(**changes: object) -> OarExecutor:
    return OarExecutor(resources(**{"gpus": 1, "walltime_min": 10.0, **changes}), ENTRY, grace_s=2.0)


def run_in(oar: OarCluster, asked: OarExecutor | None = None) -> Run:
    return Run(oar.shared, asked or executor(), "my run")
