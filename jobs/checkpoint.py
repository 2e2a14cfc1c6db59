"""Is this directory a LitGPT checkpoint that can be fine-tuned here? Every reason against, at once."""

from __future__ import annotations

from pathlib import Path

import torch
from litgpt.lora import GPT, Config
from litgpt.prompts import prompt_styles
from litgpt.tokenizer import Tokenizer

from jobs.limits import lora_problems
from jobs.model import weights
from orchestrator.errors import InputError, OrchestratorError
from orchestrator.evaluation import LitGPTEvaluation


def check(path: Path, evaluation: LitGPTEvaluation) -> None:
    """
    Raises:
        InputError: files are missing, do not fit each other, or do not suit `evaluation`.
    """
    problems = []
    if evaluation.prompt_style not in prompt_styles:
        known = ", ".join(sorted(prompt_styles))
        problems.append(
            f"prompt_style: {evaluation.prompt_style!r} is unknown to LitGPT: give one of {known}"
        )
    if not path.is_dir():
        problems.append(
            f'model: {path}: no such directory: give a LitGPT checkpoint, a Hugging Face id, or "demo"'
        )
        raise InputError(problems)
    absent = [name for name in ("model_config.yaml", "lit_model.pth") if not (path / name).is_file()]
    if not any((path / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        absent.append("tokenizer.json")
    if absent:
        problems.append(
            f"model: {path} lacks {', '.join(absent)}: it is no LitGPT checkpoint, "
            "which `litgpt convert_to_litgpt` makes"
        )
        raise InputError(problems)
    try:
        problems += lora_problems(path / "model_config.yaml", evaluation.lora_layers, 1)
        config = Config.from_file(path / "model_config.yaml")
        problems += _tokenizer_problems(path, config) + _weight_problems(path, config)
        if evaluation.max_length > config.block_size:
            problems.append(
                f"max_length = {evaluation.max_length}: {path.name} reads {config.block_size} at most"
            )
    except (OrchestratorError, TypeError, ValueError, OSError) as error:
        problems.append(f"model: {path}: cannot be loaded: {error}")
    if problems:
        raise InputError(problems)


def _tokenizer_problems(path: Path, config: Config) -> list[str]:
    try:
        tokenizer = Tokenizer(path)
    except Exception as error:  # noqa: BLE001 - the tokenizers library raises bare Exception
        return [f"model: {path}: its tokenizer cannot be loaded: {error}"]
    if tokenizer.backend == "huggingface":
        size = tokenizer.processor.get_vocab_size(with_added_tokens=True)
    else:
        size = tokenizer.vocab_size
    problems = []
    if size > config.padded_vocab_size:
        problems.append(
            f"model: {path}: its tokenizer has {size} tokens and the model {config.padded_vocab_size}: "
            "tokenizer and weights are of different models"
        )
    if tokenizer.eos_id is None:
        problems.append(f"model: {path}: no end-of-text token: name eos_token in tokenizer_config.json")
    return problems


def _weight_problems(path: Path, config: Config) -> list[str]:
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
    return [f"model: {path}: lit_model.pth does not fit model_config.yaml: {', '.join(wrong[:3])}{more}"]
