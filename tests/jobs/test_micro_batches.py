"""Samples at once: as many as memory takes, found once, and never a matter of the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.model import lora as model
from jobs.model import loss
from jobs.prepare.demo import Demo
from jobs.training import finetune
from jobs.training.micro_batches import MicroBatches
from orchestrator.contract import LitGPTEvaluation
from tests.jobs.test_finetune import CPU, in_training, loaded, made, some


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    tokens=st.integers(1, 200),
    by_rows=st.booleans(),
)
def test_each_sample_is_in_one_micro_batch_within_the_budget(
    lengths: list[int], tokens: int, *, by_rows: bool
) -> None:
    found = list(MicroBatches(tokens if by_rows else None, tokens).of(lengths))
    assert sorted(i for rows in found for i in rows) == list(range(len(lengths)))
    for rows in found:
        padded = len(rows) if by_rows else len(rows) * max(lengths[i] for i in rows)
        assert padded <= tokens or len(rows) == 1


class Small:
    """A device on which a micro-batch of more padded tokens than `tokens` is too much."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tokens: int, recomputed: int = 0) -> None:
        self.seen: list[int] = []
        losses = loss.sample_losses

        def limited(model: Any, batch: Any, place: Any) -> torch.Tensor:
            padded = len(batch) * max(len(sample.ids) for sample in batch)
            recomputing = "forward" in vars(model.transformer.h[0])
            if padded > (recomputed if recomputing else tokens):
                raise torch.OutOfMemoryError("CUDA out of memory")
            self.seen.append(padded)
            return losses(model, batch, place)

        monkeypatch.setattr(loss, "sample_losses", limited)


def trained(base: Demo, evaluation: LitGPTEvaluation, micro_batches: MicroBatches, **changes: Any) -> str:
    net = loaded(base, **changes)
    finetune.finetune(
        net, some(), made(evaluation, **changes), seed=1, device=CPU, micro_batches=micro_batches
    )
    return model.adapter_digest(net)


def test_what_is_too_much_is_halved_and_remembered(
    base: Demo, evaluation: LitGPTEvaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "cache" / "x.json"
    small = Small(monkeypatch, tokens=100)
    first = MicroBatches.on(CPU, 320, None, memory)
    assert first.tokens == 640
    digest = trained(base, evaluation, first, lora_dropout=0.2)
    assert 0 < max(small.seen) <= 100
    # The step that was too much is done anew, dropout too; a trial that knows comes to the same bits.
    again = MicroBatches.on(CPU, 320, None, memory)
    assert (again.tokens, again.recomputing) == (first.tokens, False) == (80, False)
    assert trained(base, evaluation, again, lora_dropout=0.2) == digest


def test_where_one_sample_is_too_much_activations_are_computed_again(
    base: Demo, evaluation: LitGPTEvaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "x.json"
    whole = trained(base, evaluation, MicroBatches(None, 60))
    Small(monkeypatch, tokens=5, recomputed=70)
    first = MicroBatches(None, 60, memory=memory)
    assert trained(base, evaluation, first) == whole
    assert (first.tokens, first.recomputing) == (60, True)
    assert MicroBatches.on(CPU, 320, None, memory).recomputing


@pytest.mark.parametrize("rows", [None, 4])
def test_what_no_way_fits_is_out_of_memory(
    base: Demo, evaluation: LitGPTEvaluation, monkeypatch: pytest.MonkeyPatch, rows: int | None
) -> None:
    Small(monkeypatch, tokens=5)
    training = in_training(loaded(base), made(evaluation), MicroBatches(rows, 64))
    with pytest.raises(torch.OutOfMemoryError):
        training._gradient(some())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"tokens": "many", "recomputing": false}'])
def test_a_memory_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    assert MicroBatches.on(CPU, 320, None, tmp_path / "x.json").tokens == 640
    assert MicroBatches.on(CPU, 2**24, None, None).tokens == 64  # the logits of so large a vocabulary
