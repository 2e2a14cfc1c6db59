"""Which device an evaluation runs on, and that a GPU which fails is the host's fault, never a silent CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from jobs.attempt.failure import EvaluationFailed
from jobs.model import lora
from orchestrator.contract import Failure


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A PyTorch built with CUDA, in a job that has one GPU; there is none that works."""
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("ROCR_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "ORCHESTRATOR_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    return monkeypatch


def failure() -> tuple[Failure, str]:
    with pytest.raises(EvaluationFailed) as raised:
        lora.find_device()
    return raised.value.failure, str(raised.value)


def test_a_gpu_that_pytorch_does_not_see_is_a_host_fault(built: pytest.MonkeyPatch) -> None:
    found, message = failure()
    assert found is Failure.HOST_FAULT
    assert "CUDA_VISIBLE_DEVICES=3" in message


@pytest.mark.parametrize("words", ["uncorrectable ECC error encountered", "out of memory", "whatever"])
def test_a_gpu_that_fails_at_its_first_use_is_a_host_fault(built: pytest.MonkeyPatch, words: str) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise torch.AcceleratorError(f"CUDA error: {words}")

    built.setattr(torch.cuda, "is_available", lambda: True)
    built.setattr(torch, "zeros", broken)
    found, message = failure()
    assert found is Failure.HOST_FAULT
    assert words in message


def test_the_cpu_is_taken_where_it_is_meant(built: pytest.MonkeyPatch) -> None:
    built.setenv("ORCHESTRATOR_DEVICE", "cpu")
    assert lora.find_device(gpus=4).type == "cpu"
    built.delenv("ORCHESTRATOR_DEVICE")
    built.setenv("CUDA_VISIBLE_DEVICES", "")
    assert lora.find_device().type == "cpu"
    with pytest.raises(EvaluationFailed, match="gpus = 1 in the profile"):
        lora.find_device(gpus=1)
    built.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    built.setattr(torch.version, "cuda", None)  # a PyTorch for CPUs, as where a cluster is only played
    built.setattr(torch.version, "hip", None)
    assert lora.find_device(gpus=4).type == "cpu"


@pytest.mark.parametrize(
    ("variables", "gpus", "words"),
    [
        ({}, 0, ""),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0, ""),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, 0, ""),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 0, ""),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8f"}, 0, "CUDA_VISIBLE_DEVICES=GPU-8f"),
        ({"SLURM_JOB_GPUS": "0,1"}, 0, "SLURM_JOB_GPUS=0,1"),
        ({}, 2, "gpus = 2 in the profile"),
    ],
)
def test_what_says_that_a_job_has_a_gpu(variables: dict[str, str], gpus: int, words: str) -> None:
    assert lora.assigned(variables, gpus) == words
