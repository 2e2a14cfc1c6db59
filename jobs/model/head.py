"""The vocabulary head at chosen positions only: most of a batch is context or padding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class HeadAt(torch.nn.Module):
    """Replaces the vocabulary head `head`, and computes the logits of chosen positions only."""

    def __init__(self, head: torch.nn.Module, rows: torch.Tensor, positions: torch.Tensor) -> None:
        super().__init__()
        self.head = head
        self._at = rows, positions

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (p, vocabulary) of `hidden` (batch, length, width)."""
        chosen: torch.Tensor = self.head(hidden[self._at])
        return chosen


@contextmanager
def head_at(model: Any, rows: torch.Tensor, positions: torch.Tensor) -> Iterator[None]:
    """Inside, `model(ids)` gives logits (p, vocabulary) at p pairs of `rows` (p,) and `positions` (p,)."""
    head = model.lm_head
    model.lm_head = HeadAt(head, rows, positions)
    try:
        yield
    finally:
        model.lm_head = head
