"""The limits that a model's shape sets to LoRA and to the length of sequences.

They are read from its YAML file alone, so that a login node can check a study without PyTorch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from orchestrator.contract.evaluation import Projection
from orchestrator.errors import InputError

CONFIG = "model_config.yaml"  # in a LitGPT checkpoint


def rank_limits(model_config: Path, layers: Sequence[Projection]) -> dict[Projection, int]:
    """The highest rank of LoRA that makes sense on each layer: the lesser of its in- and out-features.

    Raises:
        InputError: the file is missing or lacks a number.
    """
    shape = _shape(model_config)
    return {layer: min(_features(shape, layer, model_config)) for layer in layers}


def lora_problems(model_config: Path, layers: Sequence[Projection], highest_rank: int) -> list[str]:
    """Why LoRA of rank `highest_rank` on `layers` does not suit this model; empty if it does.

    Raises:
        InputError: the file is missing or lacks a number.
    """
    problems = [
        f"lora_rank up to {highest_rank} on {layer!r}: {model_config.parent.name} allows {limit} there "
        f"(the lesser of its in- and out-features): lower `high` of lora_rank, or leave {layer!r} out"
        for layer, limit in rank_limits(model_config, layers).items()
        if highest_rank > limit
    ]
    if "head" in layers and tied(model_config.parent):
        problems.append(
            f"lora_layers: 'head': {model_config.parent.name} ties its head to its embedding, "
            "so what is trained there is lost: leave 'head' out"
        )
    return problems


def length_problems(model_config: Path, max_length: int) -> list[str]:
    """Why this model cannot read sequences of `max_length` tokens; empty if it can.

    Raises:
        InputError: the file is missing or malformed.
    """
    longest = context(model_config)
    if max_length <= longest:
        return []
    return [f"max_length = {max_length}: {model_config.parent.name} reads {longest} tokens at most: lower it"]


def context(model_config: Path) -> int:
    """Tokens that the model reads at most.

    Raises:
        InputError: the file is missing or malformed.
    """
    try:
        return int(_shape(model_config).get("block_size", 4096))  # LitGPT's own default
    except (TypeError, ValueError) as error:
        raise InputError(f"{model_config}: block_size is no number ({error})") from error


def tied(checkpoint: Path) -> bool:
    """True if the checkpoint's Hugging Face configuration says that head and embedding are one matrix."""
    return bool(hugging_face(checkpoint).get("tie_word_embeddings"))


def hugging_face(checkpoint: Path, name: str = "config.json") -> Mapping[str, Any]:
    """The checkpoint's Hugging Face configuration, or another JSON file; empty where there is none."""
    try:
        content = json.loads((checkpoint / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _shape(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found: give a LitGPT checkpoint directory") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no mapping: give the model_config.yaml that LitGPT wrote")
    return content


def _features(shape: Mapping[str, Any], layer: Projection, path: Path) -> tuple[int, int]:
    """The number of in- and of out-features of `layer`; derived as LitGPT does where the file says null.

    Raises:
        InputError: the file lacks a number.
    """
    try:
        width, heads = int(shape["n_embd"]), int(shape["n_head"])
        head_size = int(shape.get("head_size") or width // heads)
        groups = int(shape.get("n_query_groups") or heads)
        if layer in ("key", "value"):
            return width, groups * head_size
        if layer in ("query", "projection"):
            return width, heads * head_size
        if layer == "mlp":
            hidden = shape.get("moe_intermediate_size") if shape.get("n_expert") else None
            return width, int(hidden or shape.get("intermediate_size") or 4 * width)
        return width, int(shape.get("padded_vocab_size") or shape["vocab_size"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: lacks a number that LoRA needs ({error})") from error
