"""Fine-tuning: the loss that LitGPT means, the same bits every time, and nothing kept of what diverged."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.attempt.failure import EvaluationFailed
from jobs.data.tokens import Sample
from jobs.inputs.hyperparameters import hyperparameters
from jobs.model import lora as model
from jobs.model import loss
from jobs.prepare.demo import Demo
from jobs.processes.group import ALONE, Group
from jobs.tasks.score import validation_loss
from jobs.training import finetune
from jobs.training.micro_batches import MicroBatches
from jobs.training.recipe import Recipe
from orchestrator.contract import Failure, LitGPTEvaluation
from orchestrator.contract.evaluation import Hyperparameters
from tests.jobs.attempts import litgpt

CPU = torch.device("cpu")
LORA = {"lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2}


def loaded(
    base: Demo, precision: str = "fp32", layers: Any = ("query", "value", "mlp"), **changes: Any
) -> Any:
    wanted = Hyperparameters(**{**LORA, **changes})
    return model.load(base.model, wanted, layers, precision=precision, seed=5, device=CPU)


def some(count: int = 12, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [Sample(rng.integers(2, 300, n).astype(np.int32), 1 + n // 3) for n in rng.integers(6, 30, count)]


def made(evaluation: LitGPTEvaluation, **changes: Any) -> Recipe:
    return Recipe.of(evaluation, Hyperparameters(**{**LORA, **changes}), documents=100)


def test_the_loss_is_the_mean_of_each_samples_own_mean(base: Demo) -> None:
    net, samples = loaded(base).eval(), some(5)
    naive = []
    for sample in samples:
        ids = torch.from_numpy(sample.ids).long()
        logits = net(ids[None])[0]
        naive.append(
            torch.nn.functional.cross_entropy(
                logits[sample.first_target - 1 : -1], ids[sample.first_target :]
            )
        )
    torch.testing.assert_close(
        loss.sample_losses(net, samples, CPU), torch.stack(naive), atol=1e-5, rtol=1e-5
    )


def test_the_micro_batch_changes_no_gradient(base: Demo, evaluation: LitGPTEvaluation) -> None:
    gradients = []
    for size in (1, 3, 8, None):
        net = loaded(base)
        with torch.no_grad():  # where B is zero, A has no gradient to compare
            for name, parameter in net.named_parameters():
                if name.endswith("lora_B"):
                    parameter.copy_(torch.linspace(-0.1, 0.1, parameter.numel()).view_as(parameter))
        training = in_training(net, made(evaluation), MicroBatches(size, tokens=64))
        value, _ = training._gradient(some(8))
        gradients.append((value, {n: p.grad for n, p in net.named_parameters() if p.requires_grad}))
    for value, gradient in gradients[1:]:
        assert value == pytest.approx(gradients[0][0], rel=1e-5)
        for name, expected in gradients[0][1].items():
            assert expected.abs().max() > 0
            torch.testing.assert_close(gradient[name], expected, atol=1e-6, rtol=1e-4)


def in_training(net: Any, recipe: Recipe, micro_batches: MicroBatches) -> finetune._Training:
    return finetune._Training(
        net, recipe, seed=1, device=CPU, micro_batches=micro_batches, group=ALONE, interruption=None
    )


def trained(base: Demo, evaluation: LitGPTEvaluation, seed: int = 1, **changes: Any) -> tuple[str, Any]:
    net = loaded(base, evaluation.precision, **changes)
    recipe = made(evaluation, **changes)
    finetune.finetune(net, some(), recipe, seed=seed, device=CPU)
    return model.adapter_digest(net), net


def test_the_same_seed_gives_the_same_bits(base: Demo, evaluation: LitGPTEvaluation) -> None:
    first = trained(base, evaluation, lora_dropout=0.3)[0]
    torch.rand(7)  # whatever else drew random numbers
    assert trained(base, evaluation, lora_dropout=0.3)[0] == first
    assert trained(base, evaluation, seed=2, lora_dropout=0.3)[0] != first
    assert trained(base, evaluation, lora_dropout=0.2)[0] != first


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("rank", "alpha"), list(product((1, 2, 8, 32), (1, 16, 128))))
def test_a_vanishing_rate_scores_as_the_base(base: Demo, precision: str, rank: int, alpha: float) -> None:
    untouched = model.load(base.model, None, (), precision=precision, seed=0, device=CPU)
    expected = validation_loss(untouched, some(), CPU)
    digest, net = trained(
        base, litgpt(base, precision=precision), lora_rank=rank, lora_alpha=alpha, learning_rate=1e-9
    )
    model.merge(net)
    found = validation_loss(net, some(), CPU)
    assert found.stderr is not None
    assert abs(found.value - expected.value) < 1e-2 * found.stderr
    assert digest != model.adapter_digest(loaded(base, precision, lora_rank=rank, lora_alpha=alpha))


def test_merging_changes_no_loss_and_no_file(base: Demo, evaluation: LitGPTEvaluation) -> None:
    weights = base.model / "lit_model.pth"
    before = hashlib.sha256(weights.read_bytes()).hexdigest()
    _, net = trained(base, evaluation)
    apart = validation_loss(net, some(), CPU).value
    assert not model.is_untouched(model.adapters(net))
    model.merge(net)
    assert validation_loss(net, some(), CPU).value == pytest.approx(apart, abs=1e-5)
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == before
    base_loss = validation_loss(loaded(base), some(), CPU).value
    assert abs(base_loss - apart) > 1e-3


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("steps", [1, 2, 20])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_rate_is_never_zero_and_reaches_its_peak(
    base: Demo, warmup: float, steps: int, schedule: str
) -> None:
    recipe = made(litgpt(base, steps=steps, schedule=schedule), warmup_fraction=warmup)
    rates = [recipe.rate(step) for step in range(recipe.steps)]
    assert all(0 < rate <= 1e-2 for rate in rates)
    assert max(rates) == 1e-2
    assert rates[: recipe.warmup_steps] == sorted(rates[: recipe.warmup_steps])
    if schedule == "constant":
        assert rates[-1] == 1e-2


def test_how_long_it_trains(base: Demo) -> None:
    assert made(litgpt(base, steps=40)).steps == 40
    assert made(litgpt(base, steps=40, fidelity=0.25)).steps == 10
    assert made(litgpt(base, steps=None, epochs=2, batch_size=10)).steps == 20
    assert made(litgpt(base, steps=40), epochs=0.5, batch_size=5).steps == 10
    assert made(litgpt(base, steps=40), steps=3).steps == 3


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_an_epoch_is_every_sample_once_however_many_processes_share_it(size: int) -> None:
    order = finetune._endless(12, torch.Generator().manual_seed(3))
    for _ in range(2):
        seen = []
        for batch in (list(islice(order, 4)) for _ in range(3)):
            seen += [i for rank in range(size) for i in Group(rank, size).share(batch)]
        assert sorted(seen) == list(range(12))


def test_a_weight_that_is_not_finite_ends_the_trial_at_once(base: Demo, evaluation: LitGPTEvaluation) -> None:
    net = loaded(base)
    with torch.no_grad():
        net.transformer.h[0].mlp.proj.linear.weight[0, 0] = math.nan
    with pytest.raises(EvaluationFailed, match="nan at step 1 of 4") as raised:
        finetune.finetune(net, some(), made(evaluation), seed=1, device=CPU)
    assert raised.value.failure is Failure.DIVERGED
    with pytest.raises(EvaluationFailed, match="validation loss of 12 of 12 documents is not finite"):
        validation_loss(net, some(), CPU)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_ends_the_trial_at_its_step(
    base: Demo, evaluation: LitGPTEvaluation, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    whole, calls = loss.sample_losses, []

    def broken(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        losses = whole(*arguments)
        if len(calls) < 5:  # two micro-batches a step: the third step breaks
            return losses
        return losses * math.nan if where == "loss" else _finite_with_nan_gradient(losses)

    monkeypatch.setattr(loss, "sample_losses", broken)
    with pytest.raises(EvaluationFailed, match=f"{where}.* nan at step 3 of 4") as raised:
        finetune.finetune(loaded(base), some(), made(evaluation), seed=1, device=CPU)
    assert raised.value.failure is Failure.DIVERGED


def _finite_with_nan_gradient(losses: torch.Tensor) -> torch.Tensor:
    zeros = torch.zeros_like(losses) * losses
    return losses.detach() + (zeros * zeros).sqrt()  # the derivative of √ at 0 is infinite, times 0


def test_an_adapter_out_of_range_is_divergence(base: Demo) -> None:
    net = loaded(base)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.fill_(1e30)
    with pytest.raises(EvaluationFailed, match="not finite") as raised:
        model.merge(net)
    assert raised.value.failure is Failure.DIVERGED


def test_a_rank_above_the_layer_is_refused(base: Demo) -> None:
    with pytest.raises(EvaluationFailed, match="allows 32"):
        loaded(base, lora_rank=33)


def test_a_tied_head_is_refused_by_its_weights_alone(base: Demo, tmp_path: Path) -> None:
    loaded(base, layers=("head",))
    for name in ("model_config.yaml", "tokenizer.json"):
        (tmp_path / name).write_bytes((base.model / name).read_bytes())
    state = model.weights(base.model)
    state["lm_head.weight"] = state["transformer.wte.weight"].clone()
    torch.save(state, tmp_path / "lit_model.pth")
    with pytest.raises(EvaluationFailed, match="ties its head"):
        loaded(replace(base, model=tmp_path), layers=("head",))


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ({"lora_rank": 4}, "lora_alpha: Field required"),
        ({**LORA, "rank": 4}, "rank: Extra inputs"),
        ({**LORA, "lora_rank": 2.5}, "lora_rank"),
        ({**LORA, "epochs": 1.0, "steps": 3}, "either `epochs` or `steps`"),
    ],
)
def test_a_configuration_is_checked(configuration: Any, words: str) -> None:
    with pytest.raises(EvaluationFailed, match=words):
        hyperparameters(configuration)
    assert hyperparameters({}) is None
