"""LoRA fine-tuning: our own loop over the model in memory, on one device.

The loss is that of LitGPT at micro-batch 1: the mean over samples of each sample's mean over its tokens. A
larger micro-batch weights every sample by one over its length, so that it changes the speed and nothing else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from litgpt.lora import GPT

from jobs.data import Sample
from jobs.failure import diverged
from orchestrator.evaluation import Hyperparameters, LitGPTEvaluation

_BETAS = (0.9, 0.95)  # LitGPT's recipes
_CLIP = 1.0  # norm of the gradient
_IGNORED = -100


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what is learnt, beside the data and the seed."""

    steps: int
    batch_size: int
    micro_batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    cosine: bool
    bf16: bool

    def rate(self, step: int) -> float:
        """Learning rate of `step` in 0..steps−1: a line up that starts above zero, then cosine or level."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / (self.warmup_steps + 1)
        if not self.cosine:
            return self.learning_rate
        done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, slots=True)
class Trained:
    """
    Attributes:
        loss: mean training loss over the last tenth of the steps.
        samples: how many samples that mean is over.
    """

    loss: float
    samples: int
    steps: int
    seconds: float


def recipe(evaluation: LitGPTEvaluation, wanted: Hyperparameters, documents: int) -> Recipe:
    """What `evaluation` and a configuration make of `documents` training samples."""
    batch_size = wanted.batch_size or evaluation.batch_size
    epochs, steps = (wanted.epochs, wanted.steps)
    if epochs is None and steps is None:
        epochs, steps = evaluation.epochs, evaluation.steps
    if steps is not None:
        steps = max(1, round(steps * evaluation.fidelity))
    else:
        assert epochs is not None
        steps = max(1, round(epochs * documents / batch_size))
    warmup = evaluation.warmup_fraction if wanted.warmup_fraction is None else wanted.warmup_fraction
    return Recipe(
        steps=steps,
        batch_size=batch_size,
        micro_batch_size=min(evaluation.micro_batch_size, batch_size),
        learning_rate=wanted.learning_rate,
        weight_decay=wanted.weight_decay,
        warmup_steps=min(round(warmup * steps), steps - 1),
        cosine=evaluation.schedule == "cosine",
        bf16=evaluation.precision == "bf16",
    )


def finetune(
    model: GPT,
    samples: Sequence[Sample],
    recipe: Recipe,
    *,
    seed: int,
    place: torch.device,
    progress: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Train the adapters of `model`, in place. Equal arguments give equal adapters, bit for bit.

    Raises:
        EvaluationFailed: a loss or a gradient is not finite.
    """
    torch.manual_seed(seed)  # dropout
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, betas=_BETAS, weight_decay=recipe.weight_decay)
    order = _endless(len(samples), torch.Generator().manual_seed(seed))
    begun, losses = time.perf_counter(), list[float]()
    model.train()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        batch = [samples[next(order)] for _ in range(recipe.batch_size)]
        loss = _backward(model, batch, recipe, place)
        if not math.isfinite(loss):
            raise diverged(f"the training loss is {loss} at step {step + 1} of {recipe.steps}")
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, _CLIP))
        if not math.isfinite(norm):
            raise diverged(f"the gradient's norm is {norm} at step {step + 1} of {recipe.steps}")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss)
        progress(f"step {step + 1} of {recipe.steps}, loss {loss:.4f}")
    model.eval()
    last = losses[-max(1, recipe.steps // 10) :]
    if not all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
        raise diverged(f"an adapter weight is not finite after step {recipe.steps}")
    return Trained(
        loss=sum(last) / len(last),
        samples=len(last) * recipe.batch_size,
        steps=recipe.steps,
        seconds=time.perf_counter() - begun,
    )


def sample_losses(model: GPT, batch: Sequence[Sample], place: torch.device) -> torch.Tensor:
    """Mean loss of each sample over its own targets: (len(batch),), fp32."""
    longest = max(len(sample.ids) for sample in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.int64)
    targets = torch.full((len(batch), longest - 1), _IGNORED)
    for row, sample in enumerate(batch):
        tokens = torch.from_numpy(sample.ids).long()
        ids[row, : len(tokens)] = tokens
        targets[row, sample.first_target - 1 : len(tokens) - 1] = tokens[sample.first_target :]
    # The last position predicts nothing; padding is to the right, so a causal model never sees it.
    logits = model(ids[:, :-1].to(place)).float()
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.to(place).flatten(), ignore_index=_IGNORED, reduction="none"
    )
    counts = torch.tensor([sample.targets for sample in batch], device=place)
    return losses.view(len(batch), -1).sum(dim=1) / counts


def _backward(model: GPT, batch: Sequence[Sample], recipe: Recipe, place: torch.device) -> float:
    """Accumulate the gradient of the batch's loss; its value. Neighbours in length share a micro-batch."""
    total = 0.0
    batch = sorted(batch, key=lambda sample: len(sample.ids))
    for first in range(0, len(batch), recipe.micro_batch_size):
        with torch.autocast(place.type, dtype=torch.bfloat16, enabled=recipe.bf16):
            losses = sample_losses(model, batch[first : first + recipe.micro_batch_size], place)
        loss = losses.sum() / len(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def _endless(count: int, generator: torch.Generator) -> Iterator[int]:
    """Indices 0..count−1, shuffled anew for every epoch."""
    while True:
        yield from torch.randperm(count, generator=generator).tolist()
