"""A job does not take itself for a part of what started its master."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.executors.local.executor import LocalExecutor
from orchestrator.executors.oar import variables as oar
from orchestrator.executors.slurm import variables as slurm
from tests.executors.attempts import ENTRY, Run, resources, started

LAUNCHED = {
    "RANK": "3",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "n1",
    "MASTER_PORT": "29500",
    "PMI_RANK": "3",
    "PMIX_NAMESPACE": "x",
    "OMPI_COMM_WORLD_RANK": "3",
    "TORCHELASTIC_RUN_ID": "none",
    "SLURM_JOB_ID": "17",
    "SLURM_PROCID": "3",
    "OAR_JOB_ID": "17",
}
KEPT = {"MASTER_KEY": "a user's own", "RANKING": "another", "SLURM_CONF": "/etc/slurm.conf"}


@pytest.mark.parametrize("passed_on", [slurm.passed_on, oar.passed_on])
def test_what_a_submission_hands_on_says_nothing_of_a_launcher(passed_on: type[dict[str, str]]) -> None:
    kept = passed_on({**LAUNCHED, **KEPT})
    assert not {"RANK", "WORLD_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "TORCHELASTIC_RUN_ID"} & kept.keys()
    assert kept.keys() >= KEPT.keys()


def test_a_local_job_within_a_job_of_a_scheduler_knows_of_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**LAUNCHED, **KEPT}.items():
        monkeypatch.setenv(name, value)
    run = Run(
        tmp_path,
        LocalExecutor(resources(environment={**resources().environment, "RANK": "of the profile"}), ENTRY),
    )
    _, attempts = run.submit(f"test{os.getpid()}-launched", {})
    (one,) = started(*attempts)
    seen = one["environment"]
    assert seen["RANK"] == "of the profile"
    assert not (LAUNCHED.keys() - {"RANK"}) & seen.keys()
    assert seen.keys() >= KEPT.keys()
