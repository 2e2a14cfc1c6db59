"""Checks that a directory is a LitGPT checkpoint that can be fine-tuned; all problems are told at once."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from litgpt.lora import GPT, Config
from litgpt.prompts import prompt_styles

from jobs.attempt.failure import one_line
from jobs.checkpoints.vocabulary import tokenizer_problems
from jobs.inputs import length_problems, lora_problems
from jobs.inputs.limits import CONFIG, hugging_face
from jobs.model.lora import weights
from orchestrator.contract import LitGPTEvaluation
from orchestrator.errors import InputError, OrchestratorError


def check(path: Path, evaluation: LitGPTEvaluation) -> None:
    """Check a checkpoint.

    Raises:
        InputError: files are missing, do not fit each other, or do not suit `evaluation`.
    """
    problems = []
    if evaluation.prompt_style not in prompt_styles:
        known = ", ".join(sorted(prompt_styles))
        problems.append(
            f"prompt_style: {evaluation.prompt_style!r} is unknown to LitGPT: give one of {known}"
        )
    wrong = problems_of(path)
    if not wrong:
        try:
            problems += lora_problems(path / CONFIG, evaluation.lora_layers, 1)
            problems += length_problems(path / CONFIG, evaluation.max_length)
        except InputError as error:
            problems += error.problems
    if problems or wrong:
        raise InputError([*problems, *wrong])


def problems_of(path: Path, name: str = "") -> list[str]:
    """Why the directory `path` is no checkpoint whose parts fit each other; empty if it is one.

    Args:
        path: the directory.
        name: what the user calls it, if not by its path.
    """
    called = name or str(path)
    if not path.is_dir():
        return [f'model: {called}: no such directory: give a LitGPT checkpoint, a Hugging Face id, or "demo"']
    absent = [one for one in (CONFIG, "lit_model.pth") if not (path / one).is_file()]
    if not any((path / one).is_file() for one in ("tokenizer.json", "tokenizer.model")):
        absent.append("tokenizer.json")
    if absent:
        what = "it is no LitGPT checkpoint, which `litgpt convert_to_litgpt` makes"
        return [f"model: {called} lacks {', '.join(absent)}: {what}"]
    try:
        config = Config.from_file(path / CONFIG)
        wrong = [*_origin_problems(path, config), *tokenizer_problems(path, config)]
        return [f"model: {called}: {what}" for what in wrong + _weight_problems(path, config)]
    except (OrchestratorError, TypeError, ValueError, OSError, AssertionError, yaml.YAMLError) as error:
        return [f"model: {called}: cannot be loaded: {one_line(str(error) or type(error).__name__)}"]


def _origin_problems(path: Path, config: Config) -> list[str]:
    """Numbers that differ between LitGPT's configuration and Hugging Face's, if that is there."""
    origin = hugging_face(path)
    same = {
        "num_hidden_layers": config.n_layer,
        "hidden_size": config.n_embd,
        "num_attention_heads": config.n_head,
    }
    wrong = [
        f"{key} is {origin[key]} in config.json and {number} in {CONFIG}"
        for key, number in same.items()
        if isinstance(origin.get(key), int) and origin[key] != number
    ]
    vocabulary = origin.get("vocab_size")
    if isinstance(vocabulary, int) and vocabulary > config.padded_vocab_size:
        wrong.append(
            f"vocab_size is {vocabulary} in config.json and {config.padded_vocab_size} at most in {CONFIG}"
        )
    return [f"{what}: the files are of different models" for what in wrong]


def _weight_problems(path: Path, config: Config) -> list[str]:
    """Whether the weights have the names and shapes that the configuration says."""
    with torch.device("meta"):
        expected = {
            name.replace(".linear.", "."): tensor.shape for name, tensor in GPT(config).state_dict().items()
        }
    found = {name: tensor.shape for name, tensor in weights(path).items()}
    if any(".attn.attn." in name or ".attn.linear." in name for name in found):
        return []  # an older layout, which LitGPT converts as it loads
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if not wrong:
        return []
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return [f"lit_model.pth does not fit {CONFIG}: {', '.join(wrong[:3])}{more}"]
