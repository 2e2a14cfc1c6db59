"""Instructions as a model reads them: tokenized once, cut into batches."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from jobs.data.instructions import Instruction
from orchestrator.contract import LitGPTEvaluation

_LOCK_S = 600.0  # seconds to wait for another process that tokenizes the same

Tokens = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Sample:
    """A tokenized instruction.

    Attributes:
        ids: (length,) prompt and response.
        first_target: the first position that counts in the loss.
    """

    ids: Tokens
    first_target: int = 1

    @property
    def targets(self) -> int:
        """The number of tokens that count in the loss."""
        return len(self.ids) - self.first_target


def cut_short(samples: Sequence[Sample], max_length: int) -> str:
    """A text that says how many of `samples` are `max_length` tokens long, and may have lost their end."""
    cut = sum(len(sample.ids) == max_length for sample in samples)
    return f"{len(samples)} documents, {cut} of them cut short at {max_length} tokens"


def nested(samples: Sequence[Sample], fidelity: float) -> list[Sample]:
    """The first of `samples`, a share `fidelity` of them: a smaller share is part of every larger one."""
    return list(samples[: max(1, math.ceil(fidelity * len(samples)))])


def tokenized(
    instructions: Sequence[Instruction],
    model: Path,
    *,
    prompt_style: str,
    max_length: int,
    mask_prompt: bool,
    cache: Path,
) -> list[Sample]:
    """`instructions` as LitGPT tokenizes them for fine-tuning, cut at `max_length` tokens; cached by content.

    Samples without a target, such as a masked prompt that fills `max_length`, are left out.
    """
    what = [prompt_style, max_length, mask_prompt, list(instructions)]
    digest = hashlib.sha256(json.dumps(what, ensure_ascii=False).encode())
    for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "generation_config.json"):
        if (model / name).is_file():
            digest.update((model / name).read_bytes())
    digest.update(model.stem.encode())  # LitGPT tells by the directory's name whether Llama 3 wants its BOS
    path = cache / "tokens" / f"{digest.hexdigest()}.npz"
    with _alone(path):
        if path.is_file():
            return _load(path)
        encoded = _encoded(instructions, model, prompt_style, max_length, mask_prompt)
        samples = [sample for sample in encoded if sample.targets > 0]
        _save(path, samples)
    return samples


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait while another process makes the file; where locks do not work both make it, and it is whole."""
    lock = FileLock(path.parent / ".lock")
    if not path.is_file():
        with suppress(OSError, Timeout):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=_LOCK_S)
    try:
        yield
    finally:
        lock.release()


def _encoded(
    instructions: Sequence[Instruction], model: Path, prompt_style: str, max_length: int, mask_prompt: bool
) -> Iterator[Sample]:
    """Yield the samples of `instructions`, made as `litgpt.data.SFTDataset` does it."""
    from litgpt.prompts import PromptStyle
    from litgpt.tokenizer import Tokenizer

    tokenizer, style = Tokenizer(model), PromptStyle.from_name(prompt_style)
    for instruction in instructions:
        prompt = tokenizer.encode(
            style.apply(prompt=instruction["instruction"], **instruction), max_length=max_length
        ).tolist()
        response = tokenizer.encode(
            instruction["output"], bos=False, eos=True, max_length=max_length
        ).tolist()
        ids = np.array([*prompt, *response][:max_length], dtype=np.int32)
        yield Sample(ids, max(1, len(prompt)) if mask_prompt else 1)


def _load(path: Path) -> list[Sample]:
    with np.load(path) as arrays:
        pieces = np.split(arrays["ids"], arrays["ends"][:-1])
        return [Sample(ids, int(first)) for ids, first in zip(pieces, arrays["first"], strict=True)]


def _save(path: Path, samples: Sequence[Sample]) -> None:
    """Write n samples with t tokens as arrays: ids (t,), ends of the samples (n,), first targets (n,)."""
    if not samples:
        return
    content = io.BytesIO()
    np.savez(
        content,
        ids=np.concatenate([sample.ids for sample in samples]),
        ends=np.cumsum([len(sample.ids) for sample in samples]),
        first=np.array([sample.first_target for sample in samples]),
    )
    # A cache that this host may not write, or that is full, costs time and nothing else.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield batches of rows, as indices: longest first, at most `tokens` padded tokens, at least one row."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def samples(
    instructions: Sequence[Instruction], evaluation: LitGPTEvaluation, model: Path, cache: Path
) -> list[Sample]:
    """Return `instructions` as `evaluation` has them tokenized.

    Args:
        instructions: in the order of the samples.
        evaluation: gives the prompt style, the greatest length, and whether the prompt counts in the loss.
        model: the LitGPT checkpoint whose tokenizer reads them.
        cache: the shared cache, which keeps the samples for the next trial.
    """
    return tokenized(
        instructions,
        model,
        prompt_style=evaluation.prompt_style,
        max_length=evaluation.max_length,
        mask_prompt=evaluation.mask_prompt,
        cache=cache,
    )
