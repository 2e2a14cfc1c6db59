"""Text that a model writes: prompts of different lengths in one batch, token by token.

A batch is padded on the right. The keys and values that padding leaves in the cache are at positions that the
row has not reached yet: they are overwritten before the attention mask lets the row see them, so no text
depends on the rest of its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from litgpt.lora import GPT

from jobs.attempt.failure import diverged
from jobs.model.head import head_at
from jobs.processes.group import ALONE, Group

_CACHE_BYTES = {"cpu": 2**28, "cuda": 2**32}  # of keys and values at most
_ROWS = 128  # of a batch at most


@dataclass(frozen=True)
class Prompt:
    """A prompt, and how text is written after it.

    Attributes:
        ids: tokens of the prompt; with `longest` more they must fit into the model's context.
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
    device: torch.device,
    group: Group = ALONE,
    progress: Callable[[str], None] = lambda _: None,
) -> list[list[int]]:
    """Write text after each prompt.

    Args:
        model: the model.
        prompts: those of this process.
        eos: id of the end-of-text token.
        decode: gives the text of tokens, in which the texts that end it are looked for.
        device: this process's device.
        group: the processes that work on the trial.
        progress: called with a line of text after each batch.

    Returns:
        The tokens written after each prompt, without the end-of-text token.

    Raises:
        EvaluationFailed: a logit is not finite.
    """
    found: list[list[int]] = [[] for _ in prompts]
    batches, done = list(_batches(model, prompts, device)), 0
    for batch, counts in group.padded(batches, batches[-1] if batches else []):
        try:
            chosen = [prompts[i] for i in batch]
            written = _written(model, chosen, eos=eos, decode=decode, device=device, group=group)
        finally:
            model.clear_kv_cache()
        if counts:
            for index, tokens in zip(batch, written, strict=True):
                found[index] = tokens
            done += len(batch)
            progress(f"{done} of {len(prompts)} texts")
    return found


def _batches(model: GPT, prompts: Sequence[Prompt], device: torch.device) -> Iterator[list[int]]:
    """Yield batches of prompts, as indices: longest first, as many as `_CACHE_BYTES` and `_ROWS` allow."""
    config = model.config
    each = 2 * config.n_layer * (config.n_query_groups or config.n_head) * (config.head_size or 0)
    tokens = _CACHE_BYTES.get(device.type, _CACHE_BYTES["cpu"]) // (each * _dtype(model).itemsize)
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
    device: torch.device,
    group: Group,
) -> list[list[int]]:
    """The tokens written after each prompt of one batch; the parameters are those of `generate`."""
    lengths = torch.tensor([len(prompt.ids) for prompt in prompts])
    widest, steps = int(lengths.max()), max(prompt.longest for prompt in prompts)
    ids = torch.zeros(len(prompts), widest, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt.ids)] = torch.tensor(prompt.ids)
    model.set_kv_cache(len(prompts), max_seq_length=widest + steps, device=device, dtype=_dtype(model))
    with head_at(model, torch.arange(len(prompts), device=device), (lengths - 1).to(device)):
        logits = model(ids.to(device), input_pos=torch.arange(widest, device=device), input_pos_maxp1=widest)
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
            tokens[:, None].to(device),
            input_pos=(lengths + step)[:, None].to(device),
            input_pos_maxp1=widest + step + 1,
        )[:, -1]
    return written


def _drawn(logits: torch.Tensor, prompt: Prompt, generator: torch.Generator) -> int:
    """A token drawn from `logits` (vocabulary,).

    Top-k sampling is that of Fan et al. 2018 (arXiv 1805.04833), top-p that of Holtzman et al. 2020 (arXiv
    1904.09751).
    """
    logits = logits / prompt.temperature
    if prompt.top_k:
        logits[logits < logits.topk(min(prompt.top_k, len(logits))).values[-1]] = -torch.inf
    probabilities, order = logits.softmax(dim=-1).sort(descending=True)
    # The likeliest token is always kept.
    probabilities[probabilities.cumsum(dim=-1) - probabilities >= prompt.top_p] = 0
    return int(order[torch.multinomial(probabilities, 1, generator=generator)])


def _dtype(model: GPT) -> torch.dtype:
    found: torch.dtype = model.transformer.wte.weight.dtype
    return found
