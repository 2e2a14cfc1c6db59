"""LoRA fine-tuning: a training loop over a model in memory, by one process or several.

Every process holds the model and computes the gradient of its share of each step's samples. The gradients of
the adapters, and nothing else, are added up over the processes, so the adapters stay equal on all of them,
bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from litgpt.lora import GPT

from jobs.attempt.failure import diverged
from jobs.attempt.interruption import Interrupted, Interruption
from jobs.data.tokens import Sample
from jobs.model import lora
from jobs.model import loss as objective
from jobs.processes.group import ALONE, Group
from jobs.training.micro_batches import MicroBatches
from jobs.training.recipe import Recipe
from jobs.training.state import State, TrainingStates

_BETAS = (0.9, 0.95)  # of AdamW, as in LitGPT's recipes
_CLIP = 1.0  # the gradient's norm at most: a longer one is scaled down


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to.

    Attributes:
        loss: mean training loss over the last tenth of the steps.
        samples: how many samples that mean is over.
        steps: of the whole training.
        seconds: time that the training took, including what came before an interruption.
        end: the state of the training at its end, from which a longer one can go on.
    """

    loss: float
    samples: int
    steps: int
    seconds: float
    end: State = field(default_factory=dict, repr=False, compare=False)


def finetune(
    model: GPT,
    samples: Sequence[Sample],
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    micro_batches: MicroBatches | None = None,
    group: Group = ALONE,
    states: TrainingStates | None = None,
    interruption: Interruption | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Train the adapters of `model` in place, with AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).

    On equal devices equal arguments give equal adapters, bit for bit. With `states` the training goes on from
    the furthest saved state, and saves its state from time to time and when it is interrupted. An
    interruption does not change the result by a bit: the learning rate, the order of the samples and the
    random numbers follow from the seed and the step, and everything else is in the state.

    Args:
        model: the model, with adapters.
        samples: what to learn from.
        recipe: how.
        seed: of the order of the samples and of dropout.
        device: this process's device.
        micro_batches: how many samples go through the model at once; None: as the recipe says.
        group: the processes that train together.
        states: the saved states; on the group's leader only.
        interruption: announced when the evaluation is to end.
        progress: called with a line of text after each step.

    Raises:
        EvaluationFailed: a loss or a gradient is not finite, on all processes at the same step.
        Interrupted: `interruption` was announced.
    """
    if micro_batches is None:
        micro_batches = MicroBatches.on(
            device, model.config.padded_vocab_size, recipe.micro_batch_size, memory=None
        )
    training = _Training(
        model,
        recipe,
        seed,
        device=device,
        micro_batches=micro_batches,
        group=group,
        interruption=interruption,
    )
    if states is not None:
        states.expect(lora.adapters(model))
    if (kept := group.from_leader(None if states is None else states.furthest())) is not None:
        training.load(kept)
    order = _endless(len(samples), torch.Generator().manual_seed(seed) if recipe.shuffled else None)
    order = islice(order, training.step * recipe.batch_size, None)
    model.train()
    while training.step < recipe.steps:
        if states is not None and states.due():
            states.save(training.step, training.state())
        try:
            loss = training.advance([samples[next(order)] for _ in range(recipe.batch_size)])
        except Interrupted:  # an unfinished step changes nothing: the state is that before it
            if states is not None:
                states.save(training.step, training.state())
            raise
        progress(f"step {training.step} of {recipe.steps}, loss {loss:.4f}")
    model.eval()
    if not all(bool(torch.isfinite(parameter).all()) for parameter in training.parameters):
        raise diverged(f"an adapter weight is not finite after step {recipe.steps}")
    losses = training.losses[-max(1, recipe.steps // 10) :]
    return Trained(
        loss=sum(losses) / len(losses),
        samples=len(losses) * recipe.batch_size,
        steps=recipe.steps,
        seconds=training.seconds,
        end=training.state(),
    )


class _Training:
    """A model in training, between two steps.

    Attributes:
        parameters: the adapters' weights.
        step: how many steps are done.
        losses: the loss of each of them.
    """

    def __init__(
        self,
        model: GPT,
        recipe: Recipe,
        seed: int,
        *,
        device: torch.device,
        micro_batches: MicroBatches,
        group: Group,
        interruption: Interruption | None,
    ) -> None:
        self._model, self._recipe, self._seed, self._device = model, recipe, seed, device
        self._micro_batches, self._group = micro_batches, group
        self._interruption = interruption or Interruption()
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self.parameters,
            betas=_BETAS,
            weight_decay=recipe.weight_decay,
            fused=True if device.type == "cuda" else None,
        )
        self.step = 0
        self.losses = list[float]()
        self._begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time that this training has taken, including what came before an interruption."""
        return time.perf_counter() - self._begun

    def advance(self, batch: Sequence[Sample]) -> float:
        """Do one step on the samples of `batch`; return its loss.

        Raises:
            EvaluationFailed: the loss or the gradient is not finite.
            Interrupted: the end was announced. A process by itself leaves the step unfinished; in a group it
                is finished first, so that all processes stop after the same one.
        """
        name = f"at step {self.step + 1} of {self._recipe.steps}"
        for parameters in self._optimizer.param_groups:
            parameters["lr"] = self._recipe.rate(self.step)
        loss, leaving = self._gradient(batch)
        if not math.isfinite(loss):
            raise diverged(f"the training loss is {loss} {name}")
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, _CLIP))
        if not math.isfinite(norm):
            raise diverged(f"the gradient's norm is {norm} {name}")
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss)
        self.step += 1
        if leaving:
            raise Interrupted
        return loss

    def _gradient(self, batch: Sequence[Sample]) -> tuple[float, bool]:
        """Compute the loss of the batch, and its gradient in `grad` of the parameters.

        Returns:
            The loss, and whether a process of the group must stop.
        """
        batch = sorted(batch, key=lambda sample: len(sample.ids))
        share, loss = self._group.share(batch), None
        while loss is None:  # there was too little memory: again, with smaller micro-batches
            loss = self._backward(share, len(batch), spare=batch[:1])
        if self._group.size == 1:
            return float(loss), False
        for parameter in self.parameters:
            if parameter.grad is None:  # fewer samples than processes
                parameter.grad = torch.zeros_like(parameter)
        leaving = torch.tensor(float(self._interruption.is_announced()), device=self._device)
        self._group.add([loss, leaving, *(p.grad for p in self.parameters if p.grad is not None)])
        return float(loss), bool(leaving)

    def _backward(self, share: Sequence[Sample], whole: int, spare: Sequence[Sample]) -> torch.Tensor | None:
        """Accumulate the gradient of this process's part of the batch's loss.

        Args:
            share: the samples of the batch that are this process's.
            whole: the number of samples in the batch.
            spare: samples to call the model with while other processes of a lockstep group still have some.

        Returns:
            This process's part of the loss, (); None if there was too little memory: then the step has to
            begin again, with the smaller micro-batches that are now set.
        """
        recipe, device, loss = self._recipe, self._device, torch.zeros((), device=self._device)
        # For dropout. Seeded in every step, so that random numbers of unfinished steps leave no trace.
        torch.manual_seed(_derived(self._seed, self.step, self._group.rank))
        lengths = [len(sample.ids) for sample in share]
        try:
            with self._micro_batches.applied(self._model):
                mine = [[share[i] for i in rows] for rows in self._micro_batches.of(lengths)]
                for samples, counts in self._group.padded(mine, spare):
                    if self._group.size == 1:
                        self._interruption.check()
                    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.bf16):
                        losses = objective.sample_losses(self._model, samples, device)
                    part = losses.sum() * counts / whole
                    part.backward()  # type: ignore[no-untyped-call]
                    loss += part.detach()
        except torch.OutOfMemoryError:
            # In lockstep the other processes cannot begin the step again: this trial fails, and the next one
            # begins with the smaller micro-batches.
            if not self._micro_batches.lessen(max(lengths)) or self._group.lockstep:
                raise
        else:
            return loss
        self._optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        return None

    def state(self) -> State:
        """Everything that the rest of the training depends on."""
        return {
            "adapter": lora.adapters(self._model),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "losses": list(self.losses),
            "seconds": self.seconds,
        }

    def load(self, state: State) -> None:
        """Go back to the training that `state` was taken from."""
        lora.set_adapters(self._model, state["adapter"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.losses = list(state["losses"])
        self._begun = time.perf_counter() - state["seconds"]


def _derived(*parts: int) -> int:
    """A seed made of several numbers; different numbers give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def _endless(count: int, generator: torch.Generator | None) -> Iterator[int]:
    """Yield the indices 0..count−1 again and again, shuffled for each epoch; in order without a generator."""
    while True:
        yield from range(count) if generator is None else torch.randperm(count, generator=generator).tolist()
