"""Converts Hugging Face checkpoints to LitGPT's layout: models that LitGPT knows, and any plain Llama."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from litgpt.config import configs, name_to_config
from litgpt.scripts.convert_hf_checkpoint import convert_hf_checkpoint

from jobs.attempt.failure import one_line
from jobs.inputs.limits import hugging_face
from orchestrator.errors import InputError

_NAME = "orchestrator-plain-llama"  # LitGPT treats models by name: this one matches none of its special cases


def known_name(repository: str, folder: Path) -> str | None:
    """LitGPT's name for the model of `repository`; None if its configuration is to be read from config.json.

    Raises:
        InputError: LitGPT does not know the repository, and its architecture is not plain Llama either.
    """
    org, _, name = repository.partition("/")
    for config in configs:
        if (config["hf_config"].get("org"), config["hf_config"].get("name")) == (org, name):
            return str(config["hf_config"]["name"])
    _plain_llama(repository, hugging_face(folder))
    return None


def convert(repository: str, folder: Path) -> None:
    """Write `lit_model.pth` and `model_config.yaml` beside the weights in `folder`.

    Raises:
        InputError: the weights are not those of the model that its name or config.json says.
        OSError: no space is left, or it cannot be written.
    """
    name = known_name(repository, folder)
    if name is None:
        name_to_config[_NAME] = _plain_llama(repository, hugging_face(folder))
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            convert_hf_checkpoint(folder, model_name=name or _NAME)
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if "inline_container" in str(error):  # PyTorch's writer says so of a write that was cut short
            full = os.strerror(errno.ENOSPC)
            raise OSError(errno.ENOSPC, full, str(folder / "lit_model.pth")) from error
        raise InputError(
            f"model: {repository!r}: LitGPT cannot convert it: {type(error).__name__}: "
            f"{one_line(str(error))[:300]}: give a LitGPT checkpoint directory"
        ) from error
    finally:
        name_to_config.pop(_NAME, None)


def check(repository: str, folder: Path) -> None:
    """Check a converted checkpoint.

    Raises:
        InputError: weights, configuration and tokenizer in `folder` do not fit each other.
    """
    from jobs.checkpoints.check import problems_of

    if problems := problems_of(folder, repository):
        raise InputError(problems)


def _plain_llama(repository: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """LitGPT's configuration of a model with the architecture of Llama, without variations.

    Args:
        repository: the Hugging Face id, for messages.
        given: the content of config.json.

    Raises:
        InputError: it varies from Llama, or lacks a number.
    """
    rope = {**(given.get("rope_scaling") or {}), **(given.get("rope_parameters") or {})}
    kind = rope.get("rope_type", rope.get("type", "default"))
    why_not = {
        f"its architecture is {given.get('architectures')}": given.get("architectures")
        != ["LlamaForCausalLM"],
        f"hidden_act is {given.get('hidden_act')!r}": given.get("hidden_act", "silu") != "silu",
        "its attention has biases": bool(given.get("attention_bias")),
        "its MLP has biases": bool(given.get("mlp_bias")),
        f"rope_type is {kind!r}": kind not in ("default", "llama3"),
    }
    reasons = [reason for reason, holds in why_not.items() if holds]
    if not reasons:
        try:
            return _llama(repository, given, rope, kind)
        except (KeyError, TypeError, ValueError) as error:
            reasons = [f"config.json lacks a number ({error})"]
    raise InputError(
        f"model: {repository!r} is not one that LitGPT knows (`litgpt download list`), and no plain Llama: "
        f"{', '.join(reasons)}: give another, or a LitGPT checkpoint directory"
    )


def _llama(repository: str, given: Mapping[str, Any], rope: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The configuration.

    Args:
        repository: the Hugging Face id.
        given: the content of config.json.
        rope: its settings of the rotary position embedding.
        kind: the type of these: "default" or "llama3".

    Raises:
        KeyError, TypeError, ValueError: config.json lacks a number.
    """
    org, _, name = repository.partition("/")
    adjusted = None
    if kind == "llama3":
        adjusted = {key: rope[key] for key in ("factor", "low_freq_factor", "high_freq_factor")}
        adjusted["original_max_seq_len"] = rope["original_max_position_embeddings"]
    return {
        "name": name,
        "hf_config": {"org": org, "name": name},
        "block_size": int(given["max_position_embeddings"]),
        "vocab_size": int(given["vocab_size"]),
        "padded_vocab_size": int(given["vocab_size"]),
        "n_layer": int(given["num_hidden_layers"]),
        "n_head": int(given["num_attention_heads"]),
        "n_embd": int(given["hidden_size"]),
        "n_query_groups": int(given.get("num_key_value_heads") or given["num_attention_heads"]),
        "head_size": int(given.get("head_dim") or given["hidden_size"] // given["num_attention_heads"]),
        "rotary_percentage": 1.0,
        "parallel_residual": False,
        "bias": False,
        "norm_class_name": "RMSNorm",
        "norm_eps": float(given.get("rms_norm_eps", 1e-6)),
        "mlp_class_name": "LLaMAMLP",
        "intermediate_size": int(given["intermediate_size"]),
        "rope_base": int(rope.get("rope_theta") or given.get("rope_theta") or 10000),
        "rope_adjustments": adjusted,
    }
