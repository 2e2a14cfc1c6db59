"""Instructions as a model reads them: tokenized, cut into batches."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from jobs.data.instructions import read_instructions
from jobs.data.tokens import Sample, batches, cut_short, nested, tokenized
from jobs.prepare.demo import Demo


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    samples = [Sample(torch.arange(n + 2).int().numpy()) for n in range(50)]
    shares = [nested(samples, fidelity) for fidelity in (0.01, 0.1, 0.5, 1.0)]
    assert [len(share) for share in shares] == [1, 5, 25, 50]
    for small, large in pairwise(shares):
        assert {id(one) for one in small} < {id(one) for one in large}


def test_what_was_cut_is_counted() -> None:
    samples = [Sample(torch.arange(length).int().numpy()) for length in (3, 8, 8, 7)]
    assert cut_short(samples, 8) == "4 documents, 2 of them cut short at 8 tokens"


@pytest.mark.parametrize("mask_prompt", [False, True])
@pytest.mark.parametrize("max_length", [24, 64])
def test_tokens_are_those_of_litgpt(base: Demo, tmp_path: Path, mask_prompt: bool, max_length: int) -> None:
    from litgpt.data.base import SFTDataset
    from litgpt.tokenizer import Tokenizer

    data = read_instructions(base.train)[:5]
    theirs = SFTDataset(data, Tokenizer(base.model), "alpaca", max_length, mask_prompt=mask_prompt)
    expected = [one for one in theirs if (one["labels"][1:] != -100).any()]
    settings = {
        "prompt_style": "alpaca",
        "max_length": max_length,
        "mask_prompt": mask_prompt,
        "cache": tmp_path,
    }
    for _ in range(2):  # made, then from the cache
        ours = tokenized(data, base.model, **settings)  # type: ignore[arg-type]
        assert len(ours) == len(expected)
        for mine, one in zip(ours, expected, strict=True):
            assert mine.ids.tolist() == one["input_ids"].tolist()
            counted = (one["labels"] != -100).nonzero()[0].item()
            assert mine.first_target == max(1, counted)


def test_tokens_are_cached_by_content(base: Demo, tmp_path: Path) -> None:
    data = read_instructions(base.train)[:3]

    def files(max_length: int, count: int) -> int:
        tokenized(
            data[:count],
            base.model,
            prompt_style="alpaca",
            max_length=max_length,
            mask_prompt=False,
            cache=tmp_path,
        )
        return len(list((tmp_path / "tokens").glob("*.npz")))

    assert [files(64, 3), files(64, 3), files(32, 3), files(64, 2)] == [1, 1, 2, 3]


def test_batches_hold_no_more_than_allowed_and_everything_once() -> None:
    lengths = [5, 90, 7, 30, 30, 2, 8]
    found = list(batches(lengths, 64))
    assert sorted(i for batch in found for i in batch) == list(range(7))
    assert found[0] == [1]  # too long for any batch: alone
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 64 for b in found)
    assert len(found) == 3
