"""Instructions: read, split, tokenized, cut into batches."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from jobs.data import Sample, batches, nested, read_instructions, split, tokenized
from jobs.demo import Demo
from orchestrator.errors import InputError

TWO = [{"instruction": "a", "output": "b"}, {"instruction": "c", "input": "d", "output": "e", "more": 1}]


@pytest.mark.parametrize(
    "text", [json.dumps(TWO), "\n".join(map(json.dumps, TWO)) + "\n\n", "\ufeff" + json.dumps(TWO)]
)
def test_json_and_json_lines_are_read_alike(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data"
    path.write_text(text, encoding="utf-8")
    assert read_instructions(path) == [
        {"instruction": "a", "input": "", "output": "b"},
        {"instruction": "c", "input": "d", "output": "e"},
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no instruction"),
        (b"[]", "holds no instruction"),
        (b"[{", "is no JSON"),
        (b'{"instruction": "a", "output": "b"}\n<html>', "line 2: is no JSON"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"[1]", "entry 1: is no object"),
        (b'[{"instruction": "a"}]', "entry 1: has no text under 'output'"),
        (b'[{"instruction": "a", "output": " "}]', "'output' is empty"),
        (b'[{"instruction": "a", "output": "b", "input": 3}]', "'input' is no text"),
    ],
)
def test_malformed_data_is_told_with_its_place(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as raised:
        read_instructions(path)
    assert str(path) in str(raised.value)


def test_of_many_problems_the_first_few_are_told(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{}] * 9))
    with pytest.raises(InputError) as raised:
        read_instructions(path)
    assert len(raised.value.problems) == 6
    assert "and 4 more" in raised.value.problems[-1]


def test_a_split_is_the_same_every_time_and_loses_nothing() -> None:
    many = [{"instruction": str(i), "input": "", "output": "x"} for i in range(40)]
    train, val = split(many, 0.1)
    assert (len(train), len(val)) == (36, 4)
    assert (train, val) == split(many, 0.1)
    assert sorted(int(one["instruction"]) for one in train + val) == list(range(40))
    assert [len(part) for part in split(many[:2], 0.01)] == [1, 1]


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    samples = [Sample(torch.arange(n + 2).int().numpy()) for n in range(50)]
    shares = [nested(samples, fidelity) for fidelity in (0.01, 0.1, 0.5, 1.0)]
    assert [len(share) for share in shares] == [1, 5, 25, 50]
    for small, large in pairwise(shares):
        assert {id(one) for one in small} < {id(one) for one in large}


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
        return len(list((tmp_path / "tokens").iterdir()))

    assert [files(64, 3), files(64, 3), files(32, 3), files(64, 2)] == [1, 1, 2, 3]


def test_batches_hold_no_more_than_allowed_and_everything_once() -> None:
    lengths = [5, 90, 7, 30, 30, 2, 8]
    found = list(batches(lengths, 64))
    assert sorted(i for batch in found for i in batch) == list(range(7))
    assert found[0] == [1]  # too long for any batch: alone
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 64 for b in found)
    assert len(found) == 3
