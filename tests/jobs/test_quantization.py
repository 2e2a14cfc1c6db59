"""A base model in 4 bits: what is refused; and what comes out, for slowly the library can do it on a CPU."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch

from jobs.attempt.failure import EvaluationFailed
from jobs.attempt.measured import Measured
from jobs.attempt.stages import Stages
from jobs.evaluations import litgpt as job
from jobs.inputs import Prepared
from jobs.model import lora, quantization
from jobs.prepare import demo
from jobs.prepare.demo import Demo
from jobs.prepare.prepare import prepare
from orchestrator.contract import Assignment, Failure, LitGPTEvaluation
from orchestrator.contract.evaluation import Hyperparameters
from tests.jobs.attempts import attempt, litgpt

LORA = {"lora_rank": 4, "lora_alpha": 8.0, "learning_rate": 0.01}
CPU = torch.device("cpu")
WANTED = Hyperparameters(lora_rank=4, lora_alpha=8.0, learning_rate=0.01)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quantization")


@pytest.fixture(scope="module")
def base(cache: Path) -> Demo:
    """As wide as the blocks of 64 weights that share a scale: narrower matrices the library's kernel for
    AVX-512 (0.50.2) unpacks wrong.
    """
    shape = demo.Shape(width=64, layers=2, vocabulary=320, lessons=600, steps=10, batch_size=8)
    return demo.build(cache, lambda _: None, shape)


@pytest.fixture(scope="module")
def evaluation(base: Demo) -> LitGPTEvaluation:
    return litgpt(base)


@pytest.fixture(scope="module")
def prepared(evaluation: LitGPTEvaluation, cache: Path) -> Prepared:
    return prepare(evaluation, cache, lambda _: None)


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alike on every CPU: on some the library would score in bf16, its weights packed for that."""
    monkeypatch.setattr(quantization, "require", lambda _: None)
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: False)


def loaded(base: Demo, *, quantized: bool) -> Any:
    layers: Any = ("query", "value", "mlp")
    return lora.load(base.model, WANTED, layers, precision="fp32", seed=1, device=CPU, quantized=quantized)


def measured(
    directory: Path, evaluation: LitGPTEvaluation, cache: Path, quantize: str | None, **changes: Any
) -> Measured:
    section = {**evaluation.model_dump(mode="json"), "quantize": quantize}
    attempt(directory, section, **{"configuration": LORA, "cache": str(cache), **changes})
    assignment = Assignment.model_validate_json((directory / "trial.json").read_bytes())
    return job.measure(
        LitGPTEvaluation.model_validate(section, strict=False), assignment, directory, Stages()
    )


def test_a_cpu_is_refused_with_the_reason(
    tmp_path: Path, evaluation: LitGPTEvaluation, prepared: Prepared, cache: Path
) -> None:
    with pytest.raises(
        EvaluationFailed, match=r'"nf4" needs a CUDA GPU, and this job runs on a CPU'
    ) as raised:
        measured(tmp_path / "a", evaluation, cache, "nf4")
    assert raised.value.failure is Failure.MISSING_INPUT


def test_a_host_without_the_library_is_told_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    quantization.require(torch.device("cuda"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EvaluationFailed, match="bitsandbytes"):
        quantization.require(torch.device("cuda"))


@pytest.mark.usefixtures("on_the_cpu")
def test_it_computes_with_the_rounded_weights(base: Demo) -> None:
    whole, small = loaded(base, quantized=False), loaded(base, quantized=True)
    assert quantization.is_quantized(small)
    assert not quantization.is_quantized(whole)
    rounded = 0
    for name, module in small.named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            weight = bitsandbytes.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            original = whole.get_submodule(name)
            assert 0 < (weight - original.weight).abs().max() < original.weight.abs().max() / 4
            original.weight.data = weight
            rounded += 1
    assert rounded == 5 * len(whole.transformer.h)  # qkv, proj, and three of the MLP; not the head
    ids = torch.randint(0, 300, (2, 9))
    assert torch.allclose(whole(ids), small(ids), atol=1e-4)


@pytest.mark.usefixtures("on_the_cpu")
def test_only_adapters_learn(base: Demo) -> None:
    small = loaded(base, quantized=True)
    before = {name: p.detach().clone() for name, p in small.named_parameters()}
    small(torch.randint(0, 300, (2, 9))).square().mean().backward()
    learning = {name for name, p in small.named_parameters() if p.grad is not None}
    assert learning
    assert all("lora_" in name for name in learning)
    lora.narrow(small)
    for name, p in small.named_parameters():
        assert torch.equal(p, before[name])


@pytest.mark.usefixtures("on_the_cpu")
def test_scores_are_near_those_of_the_whole_weights(
    tmp_path: Path, evaluation: LitGPTEvaluation, prepared: Prepared, cache: Path
) -> None:
    losses = {}
    for name, configuration in (("base", {}), ("trained", LORA)):
        for quantize in (None, "nf4"):
            directory = tmp_path / f"{name}-{quantize}"
            found = measured(directory, evaluation, cache, quantize, configuration=configuration)
            losses[name, quantize] = found.metrics["val_loss"].value
    assert losses["base", "nf4"] != losses["base", None]
    assert losses["base", "nf4"] == pytest.approx(losses["base", None], rel=0.02)
    assert losses["trained", "nf4"] == pytest.approx(losses["trained", None], rel=0.02)
    assert abs(losses["trained", "nf4"] - losses["base", "nf4"]) > 1e-2
