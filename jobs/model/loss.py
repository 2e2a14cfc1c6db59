"""The loss of fine-tuning: the mean over samples of each sample's mean cross-entropy over its target tokens.

A token of a short answer weighs more in it than one of a long answer. LitGPT computes the same loss with
micro-batches of one sample; here it does not depend on how samples are divided into batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from litgpt.lora import GPT

from jobs.data.tokens import Sample
from jobs.model.head import head_at


def sample_losses(model: GPT, batch: Sequence[Sample], device: torch.device) -> torch.Tensor:
    """The mean cross-entropy (nats per token) of each sample over its own targets: (len(batch),), fp32."""
    ids = torch.zeros(len(batch), max(len(sample.ids) for sample in batch), dtype=torch.int64)
    for row, sample in enumerate(batch):
        ids[row, : len(sample.ids)] = torch.from_numpy(sample.ids)
    counts = torch.tensor([sample.targets for sample in batch])
    rows = torch.arange(len(batch)).repeat_interleave(counts).to(device)
    # The token at a position is predicted one position before it. Padding is to the right, so a causal model
    # never sees it.
    positions = np.concatenate([np.arange(one.first_target - 1, len(one.ids) - 1) for one in batch])
    targets = np.concatenate([one.ids[one.first_target :] for one in batch])
    with head_at(model, rows, torch.from_numpy(positions).to(device)):
        logits = model(ids[:, :-1].to(device)).float()  # (targets of all, vocabulary)
    losses = torch.nn.functional.cross_entropy(
        logits, torch.from_numpy(targets).long().to(device), reduction="none"
    )
    return torch.zeros(len(batch), device=device).index_add(0, rows, losses) / counts.to(device)
