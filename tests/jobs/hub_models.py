"""Small models as a hub has them, and what a test asks of the stand-in that serves one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.checkpoints import from_hub
from jobs.prepare.demo import Demo
from orchestrator.errors import InputError
from tests.jobs.hub_server import Hub

NAME = "someone/small-llama"
TOKEN = "hf_recognisable0123456789"
WEIGHTS = "model.safetensors"


def saved(folder: Path, base: Demo, parts: str = "1GB", **unlike: Any) -> Any:
    """A small Llama with random weights, written into `folder`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    shape: dict[str, Any] = {
        "vocab_size": 320,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
    }
    model: Any = LlamaForCausalLM(LlamaConfig(**(shape | unlike)))  # type: ignore[no-untyped-call]
    model.eval()
    model.save_pretrained(folder, max_shard_size=parts)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base.model / name, folder)
    return model


def change(served: Hub, how: Callable[[dict[str, object]], dict[str, object]]) -> None:
    path = served.folder / "config.json"
    path.write_text(json.dumps(how(json.loads(path.read_text()))))


def fetched(own: Path, name: str = NAME) -> Path:
    return from_hub.hub_checkpoint(name, own, lambda _: None)


def refused(own: Path, name: str = NAME) -> str:
    """Why it could not be had: one line, and nothing is there that could be taken for the model."""
    with pytest.raises(InputError) as raised:
        fetched(own, name)
    (problem,) = raised.value.problems
    assert "\n" not in problem
    assert not (own / "models" / name).exists()
    return problem


def gets(served: Hub, name: str) -> list[str]:
    return [line for line in served.seen if line.startswith("GET") and f"/{name}" in line]
