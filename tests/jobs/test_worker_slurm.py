"""A fine-tuning over two hosts of a real SLURM cluster finds what one process finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.prepare.demo import Demo
from jobs.prepare.prepare import prepare
from orchestrator.contract import Outcome
from orchestrator.executors import State
from orchestrator.executors.slurm.executor import SlurmExecutor
from tests.clusters.slurm import SlurmCluster
from tests.executors.attempts import ROOT, poll_until, resources
from tests.jobs.attempts import attempt, litgpt, log, result, run

LORA = {"lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2}


def test_two_hosts_find_what_one_process_finds(
    slurm: SlurmCluster, tmp_path: Path, base: Demo, cache: Path
) -> None:
    evaluation = litgpt(base, val_documents=15)
    prepare(evaluation, cache, lambda _: None)
    fields = {"configuration": LORA, "cache": str(cache), "metrics": ["val_loss"]}
    section = evaluation.model_dump(mode="json")
    one = attempt(tmp_path / "one", section, **fields)
    two = attempt(tmp_path / "two", section, hosts=2, **fields)
    variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    (folder := tmp_path / "jobs").mkdir()
    asked = resources(hosts=2, gpus=0, walltime_min=5, environment=variables)
    executor = SlurmExecutor(asked, answer_s=20, submit_s=60)
    (job,) = executor.submit([two], "hosts", folder)
    assert run(one) == (0, "")
    poll_until(executor, [job], lambda state: state.state is State.ENDED, 120)
    alone, together = result(one), result(two)
    assert together.outcome is Outcome.OK, together.message + log(two)
    assert len(list((two / "ranks").glob("?.log"))) == 2
    for name in ("train_loss", "val_loss", "kinds/acc"):
        assert together.metrics[name].value == pytest.approx(alone.metrics[name].value, abs=1e-4)
        assert together.metrics[name].n == alone.metrics[name].n
