"""How many samples go through the model at once: as many as the device's memory takes.

Equal devices use equal micro-batches, so that equal seeds give equal results there, bit for bit: nothing
depends on measured times. That memory does not suffice is noticed once for each model, device and length of
samples, and then remembered in the shared cache.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from litgpt.lora import GPT
from torch.utils.checkpoint import checkpoint

from jobs.data.tokens import batches
from orchestrator.contract import publish
from orchestrator.contract.files import dumps

# Padded tokens at once. On a CPU as many as stay in its cache: 7 % less time than with 1024, for a model of
# width 128 and samples of 192 tokens.
_TOKENS = {"cpu": 640, "cuda": 16384}
_LOGITS = 2**30  # elements at once: 4 GiB in fp32


@dataclass
class MicroBatches:
    """How samples are divided into micro-batches, and whether activations are kept.

    Attributes:
        rows: samples at once, as the study says; None: as many as fit.
        tokens: padded tokens at once, where `rows` is None.
        recomputing: True: activations are not kept, but computed again for the gradient (Chen et al. 2016,
            arXiv 1604.06174): less memory, more time.
        memory: the file that remembers `tokens` and `recomputing`; None: nothing is remembered.
    """

    rows: int | None
    tokens: int
    recomputing: bool = False
    memory: Path | None = None
    _first_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self._first_tokens = self.tokens

    @classmethod
    def on(cls, device: torch.device, vocabulary: int, rows: int | None, memory: Path | None) -> MicroBatches:
        """The micro-batches that `memory` remembers, else those to begin with.

        Args:
            device: the device.
            vocabulary: size of the model's vocabulary, with padding.
            rows: samples at once, as the study says; None: as many as fit.
            memory: the file that remembers what fits; None: nothing is remembered.
        """
        tokens = min(_TOKENS.get(device.type, _TOKENS["cpu"]), max(1, _LOGITS // vocabulary))
        found = cls(rows, tokens, memory=memory)
        if rows is None and memory is not None:
            with suppress(OSError, ValueError, KeyError, TypeError):  # unreadable: it is found out again
                remembered = json.loads(memory.read_text(encoding="utf-8"))
                found.tokens = max(1, int(remembered["tokens"]))
                found.recomputing = bool(remembered["recomputing"])
        return found

    def of(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yield micro-batches of samples of the given `lengths`, as indices; similar lengths go together."""
        if self.rows is None:
            yield from batches(lengths, self.tokens)
            return
        order = sorted(range(len(lengths)), key=lambda i: lengths[i])
        for first in range(0, len(order), self.rows):
            yield order[first : first + self.rows]

    def lessen(self, longest: int) -> bool:
        """Use less memory from now on; False if there is no way to, or the study sets the number of samples.

        Micro-batches are halved until one sample is left; then activations are computed again instead of
        kept, with micro-batches as large as at first.

        Args:
            longest: tokens of the longest sample in the batch that did not fit.
        """
        if self.rows is not None:
            return False
        if self.tokens > longest:
            self.tokens = max(longest, self.tokens // 2)
        elif not self.recomputing:
            self.tokens, self.recomputing = self._first_tokens, True
        else:
            return False
        if self.memory is not None:
            with suppress(OSError):  # the next trial has to find it out again
                self.memory.parent.mkdir(parents=True, exist_ok=True)
                publish(self.memory, dumps({"tokens": self.tokens, "recomputing": self.recomputing}))
        return True

    @contextmanager
    def applied(self, model: GPT) -> Iterator[None]:
        """Inside, the model's blocks do not keep their activations, if `recomputing` is set."""
        blocks: list[Any] = list(model.transformer.h) if self.recomputing else []
        for block in blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        try:
            yield
        finally:
            for block in blocks:
                del block.forward  # back to the method of the class
