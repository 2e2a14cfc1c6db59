"""How many samples go through the model at once: as many as the device's memory takes.

Equal devices form equal micro-batches, so that equal seeds give equal bits there: nothing is timed. Memory
that does not suffice is noticed once per model, device and length, and remembered in the shared cache.
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
from orchestrator.contract.files import dumps, publish

# On a CPU what stays in its cache: 7 % less time than with 1024, for a model of width 128 and 192 tokens.
_TOKENS = {"cpu": 640, "cuda": 16384}
_LOGITS = 2**30  # elements at once: 4 GiB in fp32


@dataclass
class MicroBatches:
    """
    Attributes:
        rows: samples at once, as the study says; None: as many as fit.
        tokens: padded tokens at once, where `rows` is None.
        recomputing: activations are computed again when they are needed, rather than kept.
        memory: file that remembers the last two.
    """

    rows: int | None
    tokens: int
    recomputing: bool = False
    memory: Path | None = None
    _first_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self._first_tokens = self.tokens

    @classmethod
    def on(cls, place: torch.device, vocabulary: int, rows: int | None, memory: Path | None) -> MicroBatches:
        """For a device and a model; what `memory` remembers, if anything."""
        tokens = min(_TOKENS.get(place.type, _TOKENS["cpu"]), max(1, _LOGITS // vocabulary))
        found = cls(rows, tokens, memory=memory)
        if rows is None and memory is not None:
            with suppress(OSError, ValueError, KeyError, TypeError):  # unreadable: found anew
                remembered = json.loads(memory.read_text(encoding="utf-8"))
                found.tokens = max(1, int(remembered["tokens"]))
                found.recomputing = bool(remembered["recomputing"])
        return found

    def of(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Indices of samples of `lengths`, those of like length together."""
        if self.rows is None:
            yield from batches(lengths, self.tokens)
            return
        order = sorted(range(len(lengths)), key=lambda i: lengths[i])
        for first in range(0, len(order), self.rows):
            yield order[first : first + self.rows]

    def lessen(self, longest: int) -> bool:
        """Use less memory from now on; False if there is no way to, or the study says how many at once.

        Args:
            longest: tokens of the longest sample in the batch that was too much.
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
            with suppress(OSError):  # costs the next trial the same search
                self.memory.parent.mkdir(parents=True, exist_ok=True)
                publish(self.memory, dumps({"tokens": self.tokens, "recomputing": self.recomputing}))
        return True

    @contextmanager
    def applied(self, model: GPT) -> Iterator[None]:
        """Inside, the model's blocks keep their activations, or not."""
        blocks: list[Any] = list(model.transformer.h) if self.recomputing else []
        for block in blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        try:
            yield
        finally:
            for block in blocks:
                del block.forward  # the class's own again
