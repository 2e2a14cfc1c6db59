"""Instruction data: read, split, tokenized once, cut into batches."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.errors import InputError

_SPLIT_SEED = 1729  # of the split and of the order of nested subsets: the same for every trial of every study
_PROBLEMS_SHOWN = 5

Instruction = dict[str, str]
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
        return len(self.ids) - self.first_target


def read_instructions(path: Path) -> list[Instruction]:
    """Instructions of a JSON array or JSONL file in Alpaca layout: instruction, output, and perhaps input.

    Raises:
        InputError: every malformed entry (the first few of many), with its place.
    """
    entries = list(enumerate(_entries(path), start=1))
    problems = [
        f"{path}: entry {number}: {wrong}" for number, entry in entries if (wrong := _wrong_with(entry))
    ]
    if not entries:
        problems.append(f"{path}: holds no instruction: give a JSON array or one JSON object a line")
    if problems:
        more = len(problems) - _PROBLEMS_SHOWN
        raise InputError(
            problems[:_PROBLEMS_SHOWN] + ([f"{path}: and {more} more such entries"] if more > 0 else [])
        )
    return [{key: entry.get(key) or "" for key in ("instruction", "input", "output")} for _, entry in entries]


def _entries(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text ({error}): convert it") from error
    if not text.lstrip().startswith("["):
        return list(json_lines(path, text))
    try:
        return list(json.loads(text))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: is no JSON ({error})") from error


def json_lines(path: Path, text: str) -> Iterator[Any]:
    """
    Raises:
        InputError: a line is no JSON.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}: line {number}: is no JSON ({error})") from error


def _wrong_with(entry: Any) -> str:
    if not isinstance(entry, dict):
        return f"is no object but {type(entry).__name__}: give instruction and output"
    for key in ("instruction", "output"):
        if not isinstance(entry.get(key), str):
            return f"has no text under {key!r}: found {sorted(entry)}"
    if not isinstance(entry.get("input") or "", str):
        return "'input' is no text"
    return "" if entry["output"].strip() else "'output' is empty: nothing to learn"


def split(
    instructions: Sequence[Instruction], val_fraction: float
) -> tuple[list[Instruction], list[Instruction]]:
    """Training and held-out instructions, the same whoever asks; at least one of each."""
    order = _order(len(instructions))
    held_out = min(max(1, round(val_fraction * len(order))), len(order) - 1)
    return [instructions[i] for i in order[held_out:]], [instructions[i] for i in order[:held_out]]


def nested(samples: Sequence[Sample], fidelity: float) -> list[Sample]:
    """The share `fidelity` of `samples`; a smaller share is part of every larger one."""
    count = max(1, math.ceil(fidelity * len(samples)))
    return [samples[i] for i in _order(len(samples))[:count]]


def _order(count: int) -> list[int]:
    return [int(i) for i in np.random.default_rng(_SPLIT_SEED).permutation(count)]


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
    if path.is_file():
        return _load(path)
    encoded = _encoded(instructions, model, prompt_style, max_length, mask_prompt)
    samples = [sample for sample in encoded if sample.targets > 0]
    _save(path, samples)
    return samples


def _encoded(
    instructions: Sequence[Instruction], model: Path, prompt_style: str, max_length: int, mask_prompt: bool
) -> Iterator[Sample]:
    """As `litgpt.data.SFTDataset` does it."""
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
    """Indices of rows in batches of at most `tokens` padded tokens, longest first, at least one row each."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
