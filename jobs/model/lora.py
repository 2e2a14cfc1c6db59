"""A LitGPT checkpoint in memory: base weights mapped and frozen, LoRA adapters beside them."""

from __future__ import annotations

import hashlib
import math
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from litgpt.lora import GPT, Config, LoRALinear, mark_only_lora_as_trainable, merge_lora_weights

from jobs.attempt.failure import EvaluationFailed, diverged, one_line
from jobs.inputs import lora_problems
from jobs.model import adapted, quantization, sharding
from jobs.processes.group import ALONE, Group
from orchestrator.contract import Failure
from orchestrator.contract.evaluation import Hyperparameters, Projection

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def find_device(gpus: int = 0, index: int = 0) -> torch.device:
    """A GPU of this job, which is tested; the CPU if the job has none.

    A PyTorch without CUDA means the CPU, whatever the job was given; so does ORCHESTRATOR_DEVICE=cpu.

    Args:
        gpus: how many the job asked for.
        index: the number of the GPU among those, from 0.

    Raises:
        EvaluationFailed: the job has a GPU that cannot be used.
    """
    built = torch.version.cuda is not None or torch.version.hip is not None
    if not built or os.environ.get("ORCHESTRATOR_DEVICE") == "cpu":
        return torch.device("cpu")
    given = assigned(os.environ, gpus)
    if not torch.cuda.is_available():
        if not given:
            return torch.device("cpu")
        raise EvaluationFailed(
            Failure.HOST_FAULT,
            f"this job was given a GPU ({given}) and PyTorch finds none that works; "
            'to run on the CPU on purpose: environment.ORCHESTRATOR_DEVICE = "cpu" in the profile',
        )
    device = torch.device("cuda", index)
    try:
        torch.zeros(1, device=device).add_(1).item()
    except RuntimeError as error:  # out of memory too: no other process should be using it
        raise EvaluationFailed(
            Failure.HOST_FAULT,
            f"the GPU of this job ({given or 'cuda'}) cannot be used: {one_line(str(error))}",
        ) from error
    return device


def assigned(environment: Mapping[str, str], gpus: int) -> str:
    """The setting that gives this job a GPU, as text for a message; "" if there is none."""
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS"):
        if (value := environment.get(name, "").strip()) and value not in ("-1", "NoDevFiles"):
            return f"{name}={value}"
    return f"gpus = {gpus} in the profile" if gpus else ""


def device_name(device: torch.device) -> str:
    """The model of a GPU, or "cpu" with the number of threads."""
    return (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads"
    )


def load(
    checkpoint: Path,
    hyperparameters: Hyperparameters | None,
    layers: tuple[Projection, ...],
    *,
    precision: str,
    seed: int,
    device: torch.device,
    group: Group = ALONE,
    sharded: bool | None = None,
    quantized: bool = False,
) -> GPT:
    """Load a model with new adapters.

    Args:
        checkpoint: the directory of a LitGPT checkpoint.
        hyperparameters: rank, alpha and dropout of the adapters; None: without adapters.
        layers: the matrices of each block that get an adapter.
        precision: "fp32" or "bf16", of the base weights.
        seed: of the adapters' random initial values.
        device: this process's device.
        group: the processes that work on the trial.
        sharded: whether to divide the base weights among the processes; None: if one device cannot hold them.
        quantized: whether to keep the base weights in 4 bits.

    Raises:
        EvaluationFailed: the checkpoint does not hold the model its configuration describes, or cannot take
            such adapters; or this device cannot have it quantized.
    """
    if quantized:
        quantization.require(device)
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
    weight_bytes = sum(tensor.numel() for tensor in state.values()) * DTYPES[precision].itemsize
    in_shards = not quantized and sharding.is_asked(sharded, weight_bytes, device, group)
    with torch.device("meta"):  # takes no memory or time for weights that the checkpoint replaces
        model = GPT(Config.from_file(checkpoint / "model_config.yaml", **lora))
    # Sharding moves one block at a time to the device, quantizing one matrix: the rest stays on the CPU.
    target = torch.device("cpu") if in_shards or quantized else device
    moved = {name: tensor.to(device=target, dtype=DTYPES[precision]) for name, tensor in state.items()}
    try:
        result = model.load_state_dict(moved, strict=False, assign=True)
    except RuntimeError as error:
        raise _misfit(checkpoint, str(error)) from error
    absent = [name for name in result.missing_keys if "lora_" not in name]
    if absent or result.unexpected_keys:
        raise _misfit(checkpoint, f"absent: {absent[:3]}, unexpected: {result.unexpected_keys[:3]}")
    model.cos, model.sin = model.rope_cache(device=device)
    _draw_adapters(model, seed, device)
    if quantized:
        quantization.quantize(model, device)
    mark_only_lora_as_trainable(model)
    adapted.adapt(model)
    if in_shards:
        sharding.shard(model, device, group)
    return model


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The tensors of `lit_model.pth` by name, mapped: read when they are used, and shared by jobs of a host.

    Raises:
        EvaluationFailed: the file is no PyTorch checkpoint.
    """
    path = checkpoint / "lit_model.pth"
    try:
        state = torch.load(path, mmap=True, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise EvaluationFailed(Failure.BAD_DATA, f"{path}: is no PyTorch checkpoint: {error}") from error
    return dict(state.get("model", state))


def _draw_adapters(model: GPT, seed: int, device: torch.device) -> None:
    """Give the adapters their initial values, as LitGPT does: A Kaiming-uniform, drawn from `seed`; B zero.

    They are fp32 whatever the base weights are, so that an update of 1e-7 is not rounded away.
    """
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same draw on every device
    for module in _adapted(model):
        drawn = torch.empty(module.lora_A.shape)
        torch.nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
        module.lora_A = torch.nn.Parameter(drawn.to(device))
        module.lora_B = torch.nn.Parameter(torch.zeros(module.lora_B.shape, device=device))


def adapters(model: GPT) -> dict[str, torch.Tensor]:
    """The adapter matrices by name, detached, on the CPU: lora_A (rank, in) and lora_B (out, rank).

    Query, key and value are one layer, where those of the adapted parts are stacked.
    """
    return {name: p.detach().cpu() for name, p in model.named_parameters() if "lora_" in name}


def adapter_digest(net: GPT) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the adapters, names and all bits included."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(adapters(net).items()):
        hashed.update(name.encode() + tensor.numpy().tobytes())
    return hashed.hexdigest()[:16]


def set_adapters(model: GPT, state: Mapping[str, torch.Tensor]) -> None:
    """Copy adapter matrices, by name, into `model`."""
    model.load_state_dict(state, strict=False)


def is_untouched(state: Mapping[str, torch.Tensor]) -> bool:
    """True if every B is still zero, as at the beginning: the model then scores exactly as its base does."""
    return not any(bool(tensor.any()) for name, tensor in state.items() if name.endswith("lora_B"))


def merge(model: GPT) -> None:
    """Add the adapters to the weights they adapt: W becomes W + (lora_alpha / rank) · B A.

    Raises:
        EvaluationFailed: a weight became non-finite.
    """
    with torch.no_grad():
        merge_lora_weights(model)
        for module in _adapted(model):
            if not bool(torch.isfinite(module.linear.weight).all()):
                raise diverged("a merged weight is not finite: this configuration's adapter is out of range")


def narrow(model: GPT) -> None:
    """Convert adapters to the type of the base model, for models whose adapters cannot be merged.

    Merging rounds them to that type as well.
    """
    for module in _adapted(model):
        for matrix in (module.lora_A, module.lora_B):
            matrix.data = matrix.data.to(model.transformer.wte.weight.dtype)


def _adapted(model: GPT) -> list[Any]:
    """The layers of `model` that have an adapter."""
    return [one for one in model.modules() if isinstance(one, LoRALinear) and hasattr(one, "lora_A")]


def _misfit(checkpoint: Path, why: str) -> EvaluationFailed:
    text = (
        f"{checkpoint}: lit_model.pth does not hold the model of model_config.yaml: {why}: convert it again"
    )
    return EvaluationFailed(Failure.BAD_DATA, text)
