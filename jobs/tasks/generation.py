"""Text that a model writes: prompts of different lengths side by side, token by token.

A batch is padded to the right. What padding leaves in the cache of keys and values lies behind the row's own
positions: it is overwritten before the mask lets anything see it, so no row's text depends on its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from litgpt.lora import GPT

from jobs.attempt.failure import diverged
from jobs.model.head import head_at
from jobs.processes.group import ALONE, Group

_CACHE_BYTES = {"cpu": 2**28, "cuda": 2**32}
_ROWS = 128


@dataclass(frozen=True)
class Prompt:
    """
    Attributes:
        ids: of the prompt; with `longest` more they fit the model's context.
        longest: tokens to write at most.
        stop: texts that end what is written.
        temperature: 0: always the likeliest token.
        top_k: only so many likeliest tokens are drawn from; 0: all.
        top_p: only the likeliest tokens that together have this probability are drawn from.
        seed: of the draws.
    """

    ids: tuple[int, ...]
    longest: int
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


@torch.inference_mode()
def generate(
    model: GPT,
    prompts: Sequence[Prompt],
    *,
    eos: int,
    decode: Callable[[list[int]], str],
    place: torch.device,
    group: Group = ALONE,
    progress: Callable[[str], None] = lambda _: None,
) -> list[list[int]]:
    """What the model writes after each prompt: tokens, the end-of-text token left out.

    Raises:
        EvaluationFailed: a logit is not finite.
    """
    found: list[list[int]] = [[] for _ in prompts]
    batches, done = list(_batches(model, prompts, place)), 0
    for batch, counts in group.padded(batches, batches[-1] if batches else []):
        try:
            chosen = [prompts[i] for i in batch]
            written = _written(model, chosen, eos=eos, decode=decode, place=place, group=group)
        finally:
            model.clear_kv_cache()
        if counts:
            for index, tokens in zip(batch, written, strict=True):
                found[index] = tokens
            done += len(batch)
            progress(f"{done} of {len(prompts)} texts")
    return found


def _batches(model: GPT, prompts: Sequence[Prompt], place: torch.device) -> Iterator[list[int]]:
    """Indices of prompts, the longest first, as many at once as the cache may take."""
    config = model.config
    each = 2 * config.n_layer * (config.n_query_groups or config.n_head) * (config.head_size or 0)
    tokens = _CACHE_BYTES.get(place.type, _CACHE_BYTES["cpu"]) // (each * _dtype(model).itemsize)
    batch: list[int] = []
    for index in sorted(range(len(prompts)), key=lambda i: -len(prompts[i].ids)):
        longest = max(prompts[i].longest for i in [*batch, index])
        width = len(prompts[batch[0] if batch else index].ids) + longest
        if batch and (len(batch) == _ROWS or (len(batch) + 1) * width > tokens):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _written(
    model: GPT,
    prompts: Sequence[Prompt],
    *,
    eos: int,
    decode: Callable[[list[int]], str],
    place: torch.device,
    group: Group,
) -> list[list[int]]:
    lengths = torch.tensor([len(prompt.ids) for prompt in prompts])
    widest, steps = int(lengths.max()), max(prompt.longest for prompt in prompts)
    ids = torch.zeros(len(prompts), widest, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt.ids)] = torch.tensor(prompt.ids)
    model.set_kv_cache(len(prompts), max_seq_length=widest + steps, device=place, dtype=_dtype(model))
    with head_at(model, torch.arange(len(prompts), device=place), (lengths - 1).to(place)):
        logits = model(ids.to(place), input_pos=torch.arange(widest, device=place), input_pos_maxp1=widest)
    draws = [torch.Generator().manual_seed(prompt.seed) for prompt in prompts]
    written: list[list[int]] = [[] for _ in prompts]
    alive = set(range(len(prompts)))
    for step in range(steps):
        logits = logits.float()
        if not bool(torch.isfinite(logits.logsumexp(dim=-1)[sorted(alive)]).all()):
            raise diverged("a text cannot be written: the model's logits are not finite")
        tokens = logits.argmax(dim=-1).cpu()
        for row in sorted(alive):
            prompt = prompts[row]
            if prompt.temperature > 0:
                tokens[row] = _drawn(logits[row].cpu(), prompt, draws[row])
            if (token := int(tokens[row])) == eos:
                alive.discard(row)
                continue
            written[row].append(token)
            ended = len(written[row]) >= prompt.longest
            if ended or any(stop and stop in decode(written[row]) for stop in prompt.stop):
                alive.discard(row)
        waiting = any(group.gathered(bool(alive))) if group.lockstep else bool(alive)
        if not waiting or step + 1 == steps:
            break
        logits = model(
            tokens[:, None].to(place),
            input_pos=(lengths + step)[:, None].to(place),
            input_pos_maxp1=widest + step + 1,
        )[:, -1]
    return written


def _drawn(logits: torch.Tensor, prompt: Prompt, generator: torch.Generator) -> int:
    """A token drawn from `logits` (vocabulary,)."""
    logits = logits / prompt.temperature
    if prompt.top_k:
        logits[logits < logits.topk(min(prompt.top_k, len(logits))).values[-1]] = -torch.inf
    probabilities, order = logits.softmax(dim=-1).sort(descending=True)
    # The first is always among them.
    probabilities[probabilities.cumsum(dim=-1) - probabilities >= prompt.top_p] = 0
    return int(order[torch.multinomial(probabilities, 1, generator=generator)])


def _dtype(model: GPT) -> torch.dtype:
    found: torch.dtype = model.transformer.wte.weight.dtype
    return found
