"""How a training goes: its length, batches and learning rate, from the evaluation and the hyperparameters."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.contract import LitGPTEvaluation
from orchestrator.contract.evaluation import Hyperparameters


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what is learnt, beside the data and the seed.

    Attributes:
        batch_size: samples of a step.
        micro_batch_size: samples that go through the model at once; None: as many as fit.
        learning_rate: the highest one, after the warm-up.
        warmup_steps: steps in which the learning rate rises to it.
        cosine: True: the learning rate then falls along a cosine; False: it is constant.
        shuffled: True: the samples have another order in each epoch; False: the order given.
        bf16: True: the model computes in bf16 where PyTorch's autocast allows it.
    """

    steps: int
    batch_size: int
    micro_batch_size: int | None
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    cosine: bool
    shuffled: bool
    bf16: bool

    def rate(self, step: int) -> float:
        """The learning rate of `step` in 0..steps−1.

        It rises linearly from above zero, then is constant or falls along half a cosine towards zero
        (Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5).
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / (self.warmup_steps + 1)
        if not self.cosine:
            return self.learning_rate
        done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    @classmethod
    def of(cls, evaluation: LitGPTEvaluation, wanted: Hyperparameters, documents: int) -> Recipe:
        """Return the recipe for `documents` training samples.

        What the hyperparameters `wanted` leave open is as `evaluation` says.
        """
        batch_size = wanted.batch_size or evaluation.batch_size
        epochs, steps = (wanted.epochs, wanted.steps)
        if epochs is None and steps is None:
            epochs, steps = evaluation.epochs, evaluation.steps
        if steps is not None:
            steps = max(1, round(steps * evaluation.fidelity))
        else:
            assert epochs is not None
            batches = epochs * documents / batch_size
            # In a fixed order whole batches only: a last one that is not full would be filled up from the
            # next epoch, with samples that a longer training sees only later.
            steps = max(1, round(batches) if evaluation.order == "shuffled" else math.floor(batches))
        warmup = evaluation.warmup_fraction if wanted.warmup_fraction is None else wanted.warmup_fraction
        return cls(
            steps=steps,
            batch_size=batch_size,
            micro_batch_size=evaluation.micro_batch_size and min(evaluation.micro_batch_size, batch_size),
            learning_rate=wanted.learning_rate,
            weight_decay=wanted.weight_decay,
            warmup_steps=min(round(warmup * steps), steps - 1),
            cosine=evaluation.schedule == "cosine",
            shuffled=evaluation.order == "shuffled",
            bf16=evaluation.precision == "bf16",
        )
