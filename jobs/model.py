"""A LitGPT checkpoint in memory: base weights mapped and frozen, LoRA adapters beside them."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from litgpt.lora import GPT, Config, LoRALinear, mark_only_lora_as_trainable, merge_lora_weights

from jobs.failure import EvaluationFailed, diverged
from jobs.limits import lora_problems
from orchestrator.evaluation import Hyperparameters, Projection
from orchestrator.trial import Failure

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(place: torch.device) -> str:
    return (
        torch.cuda.get_device_name(place)
        if place.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads"
    )


def load(
    checkpoint: Path,
    hyperparameters: Hyperparameters | None,
    layers: tuple[Projection, ...],
    *,
    precision: str,
    seed: int,
    place: torch.device,
) -> GPT:
    """The model with fresh adapters (A drawn from `seed`, B zero); without any if there is nothing to train.

    Raises:
        EvaluationFailed: the checkpoint does not hold the model its configuration describes, or cannot take
            such adapters.
    """
    lora: dict[str, Any] = {}
    if hyperparameters is not None:
        rank = hyperparameters.lora_rank
        if problems := lora_problems(checkpoint / "model_config.yaml", layers, rank):
            raise EvaluationFailed(Failure.BAD_DATA, "; ".join(problems))
        lora = {"lora_r": rank, "lora_alpha": hyperparameters.lora_alpha}
        lora |= {"lora_dropout": hyperparameters.lora_dropout, **{f"lora_{layer}": True for layer in layers}}
    state = weights(checkpoint)
    head, embedding = state.get("lm_head.weight"), state.get("transformer.wte.weight")
    if lora.get("lora_head") and (head is None or (embedding is not None and torch.equal(head, embedding))):
        raise EvaluationFailed(
            Failure.BAD_DATA,
            f"lora_layers: 'head': {checkpoint.name} ties its head to its embedding: leave it out",
        )
    with torch.device("meta"):  # no memory and no time for weights that are mapped in a moment
        model = GPT(Config.from_file(checkpoint / "model_config.yaml", **lora))
    moved = {name: tensor.to(device=place, dtype=DTYPES[precision]) for name, tensor in state.items()}
    try:
        result = model.load_state_dict(moved, strict=False, assign=True)
    except RuntimeError as error:
        raise _misfit(checkpoint, str(error)) from error
    absent = [name for name in result.missing_keys if "lora_" not in name]
    if absent or result.unexpected_keys:
        raise _misfit(checkpoint, f"absent: {absent[:3]}, unexpected: {result.unexpected_keys[:3]}")
    model.cos, model.sin = model.rope_cache(device=place)
    _draw_adapters(model, seed, place)
    mark_only_lora_as_trainable(model)
    return model


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Tensors of `lit_model.pth`, mapped: pages are read when touched, and shared by jobs of one host."""
    path = checkpoint / "lit_model.pth"
    try:
        state = torch.load(path, mmap=True, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise EvaluationFailed(Failure.BAD_DATA, f"{path}: is no PyTorch checkpoint: {error}") from error
    return dict(state.get("model", state))


def _draw_adapters(model: GPT, seed: int, place: torch.device) -> None:
    """Adapters are fp32 whatever the base is: an update of 1e-7 must not be rounded away."""
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same draw on every device
    for module in _adapted(model):
        drawn = torch.empty(module.lora_A.shape)
        torch.nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
        module.lora_A = torch.nn.Parameter(drawn.to(place))
        module.lora_B = torch.nn.Parameter(torch.zeros(module.lora_B.shape, device=place))


def adapters(model: GPT) -> dict[str, torch.Tensor]:
    """Name -> adapter matrix, detached, on the CPU."""
    return {name: p.detach().cpu() for name, p in model.named_parameters() if "lora_" in name}


def set_adapters(model: GPT, state: Mapping[str, torch.Tensor]) -> None:
    model.load_state_dict(state, strict=False)


def is_untouched(state: Mapping[str, torch.Tensor]) -> bool:
    """True if every B is zero as it began: the model scores exactly as its base."""
    return not any(bool(tensor.any()) for name, tensor in state.items() if name.endswith("lora_B"))


def merge(model: GPT) -> None:
    """Add the adapters to the weights they adapt.

    Raises:
        EvaluationFailed: a weight became non-finite.
    """
    with torch.no_grad():
        merge_lora_weights(model)
        for module in _adapted(model):
            if not bool(torch.isfinite(module.linear.weight).all()):
                raise diverged("a merged weight is not finite: this configuration's adapter is out of range")


def _adapted(model: GPT) -> list[Any]:
    return [one for one in model.modules() if isinstance(one, LoRALinear) and hasattr(one, "lora_A")]


def _misfit(checkpoint: Path, why: str) -> EvaluationFailed:
    text = (
        f"{checkpoint}: lit_model.pth does not hold the model of model_config.yaml: {why}: convert it again"
    )
    return EvaluationFailed(Failure.BAD_DATA, text)
