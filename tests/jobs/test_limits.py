"""What a model's shape allows, told without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jobs.inputs import lora_problems
from jobs.inputs.limits import rank_limits
from orchestrator.errors import InputError
from tests.jobs.attempts import ROOT

SHAPE = {
    "n_embd": 64,
    "n_head": 4,
    "n_query_groups": 2,
    "head_size": 16,
    "intermediate_size": 48,
    "padded_vocab_size": 300,
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "model_config.yaml"
    path.write_text(yaml.safe_dump(SHAPE))
    return path


def test_a_rank_is_limited_by_the_lesser_side(config: Path) -> None:
    limits = rank_limits(config, ("query", "key", "value", "projection", "mlp", "head"))
    assert limits == {"query": 64, "key": 32, "value": 32, "projection": 64, "mlp": 48, "head": 64}


def test_what_litgpt_derives_is_derived(config: Path) -> None:
    config.write_text(yaml.safe_dump({"n_embd": 64, "n_head": 4, "head_size": None, "n_query_groups": None}))
    assert rank_limits(config, ("value", "mlp")) == {"value": 64, "mlp": 64}


def test_too_high_a_rank_is_told_with_the_layer_and_the_number(config: Path) -> None:
    assert lora_problems(config, ("query", "value"), 32) == []
    (problem,) = lora_problems(config, ("query", "value"), 33)
    assert "33" in problem
    assert "'value'" in problem
    assert "allows 32" in problem


def test_a_tied_head_is_refused(config: Path) -> None:
    (config.parent / "config.json").write_text(json.dumps({"tie_word_embeddings": True}))
    assert "ties its head" in lora_problems(config, ("head",), 4)[0]
    assert lora_problems(config, ("query",), 4) == []
    (config.parent / "config.json").write_text(json.dumps({"tie_word_embeddings": False}))
    assert lora_problems(config, ("head",), 4) == []


@pytest.mark.parametrize("content", ["- 1", "n_embd: [", "n_embd: 64", ""])
def test_a_malformed_file_is_the_users_to_mend(config: Path, content: str) -> None:
    config.write_text(content)
    with pytest.raises(InputError, match=r"model_config\.yaml"):
        rank_limits(config, ("query",))


def test_a_login_node_needs_no_torch() -> None:
    script = "import sys, jobs.inputs; assert not {'torch', 'litgpt', 'lm_eval'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
