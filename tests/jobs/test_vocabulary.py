"""A tokenizer of another model is told before anything is trained with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from jobs.checkpoints.check import problems_of
from jobs.checkpoints.vocabulary import stray_problems
from jobs.data.tokens import Sample
from jobs.prepare.demo import Demo


@pytest.fixture
def model(base: Demo, tmp_path: Path) -> Path:
    return shutil.copytree(base.model, tmp_path / "model")


def change(path: Path, how: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text()) if path.is_file() else {}
    how(content)
    path.write_text(json.dumps(content))


def the_problem(model: Path) -> str:
    (problem,) = problems_of(model)
    assert problem.startswith(f"model: {model}: ")
    return problem


def added(number: int, text: str, *, special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": text, "special": special, **flags}


def test_the_tests_model_is_in_order(model: Path) -> None:
    assert problems_of(model) == []


def test_ids_count_and_not_how_many_there_are(model: Path) -> None:
    def gap(content: dict[str, Any]) -> None:
        last = max(content["model"]["vocab"], key=content["model"]["vocab"].get)
        content["model"]["vocab"][last] = 5000

    change(model / "tokenizer.json", gap)
    assert "its tokenizer has 5001 tokens and the model 320" in the_problem(model)


def test_a_special_token_that_no_text_has_is_let_pass(model: Path) -> None:
    change(model / "tokenizer.json", lambda c: c["added_tokens"].append(added(320, "<image>", special=True)))
    assert problems_of(model) == []
    samples = [Sample(np.array([1, 2, 319], dtype=np.int32)), Sample(np.array([320, 4], dtype=np.int32))]
    assert stray_problems(samples[:1], model) == []
    (problem,) = stray_problems(samples, model)
    assert "holds '<image>', token 320, and the model's are 0..319" in problem
    change(model / "tokenizer.json", lambda c: c["added_tokens"].append(added(321, "word", special=False)))
    assert "has 322 tokens" in the_problem(model)


def test_far_fewer_tokens_than_the_model_has_are_of_another(model: Path) -> None:
    path = model / "model_config.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(config | {"vocab_size": 1200, "padded_vocab_size": 1200}))
    problems = problems_of(model)
    assert "its tokenizer has only 32" in problems[0]
    assert "tokens and the model 1200" in problems[0]
    assert "tokenizer and weights are of different models" in problems[0]
    assert "does not fit model_config.yaml" in problems[1]


@pytest.mark.parametrize("number", [320, -1, [1, 2]])
def test_the_end_of_a_text_must_be_a_token_of_the_model(model: Path, number: Any) -> None:
    change(model / "tokenizer_config.json", lambda c: c.pop("eos_token"))
    change(model / "generation_config.json", lambda c: c.update(eos_token_id=number))
    problem = the_problem(model)
    assert f"its eos token has the id {number}, and the model's are 0..319" in problem
    assert "generation_config.json" in problem


def test_both_ends_of_a_text_differing_is_another_model(model: Path) -> None:
    change(model / "config.json", lambda c: c.update(bos_token_id=7, eos_token_id=[8, 9]))
    problem = the_problem(model)
    assert "bos_token_id is 7 in config.json and 0 in the tokenizer" in problem
    assert "eos_token_id is [8, 9] in config.json and 1 in the tokenizer" in problem
    # A chat's own end of text is none.
    change(model / "config.json", lambda c: c.update(bos_token_id=0))
    assert problems_of(model) == []
    change(model / "config.json", lambda c: c.update(bos_token_id=None))
    assert problems_of(model) == []


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("num_hidden_layers", "num_hidden_layers is 9999 in config.json and 2 in model_config.yaml"),
        ("num_attention_heads", "num_attention_heads is 9999 in config.json and 4 in model_config.yaml"),
        ("vocab_size", "vocab_size is 9999 in config.json and 320 at most in model_config.yaml"),
    ],
)
def test_numbers_that_disagree_are_of_different_models(model: Path, key: str, said: str) -> None:
    change(model / "config.json", lambda c: c.update({key: 9999}))
    assert said in the_problem(model)


@pytest.mark.parametrize("content", ["{", '{"version": "1.0"}', "<html>"])
def test_a_tokenizer_that_is_none_is_told(model: Path, content: str) -> None:
    (model / "tokenizer.json").write_text(content)
    assert "its tokenizer cannot be loaded" in the_problem(model)
