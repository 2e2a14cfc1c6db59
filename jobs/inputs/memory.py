"""Whether a trial's GPUs can hold the weights of its model: checked before any of them computes."""

from __future__ import annotations

from pathlib import Path

from jobs.inputs.manifest import Prepared
from orchestrator.contract import LitGPTEvaluation

_SHARE = 0.7  # of a GPU's memory, for weights; the rest is for activations
_ITEM_BYTES = {"fp32": 4.0, "bf16": 2.0}
_QUANTIZED = 0.3  # of their bytes in 16 bits: 4 bits each, their scales, and what is not quantized


def expected_bytes(evaluation: LitGPTEvaluation, prepared: Prepared) -> float:
    """The bytes that the weights will take on a GPU, whatever type they are stored in.

    Raises:
        OSError, RuntimeError: the checkpoint cannot be read.
    """
    import torch

    path = Path(prepared.model) / "lit_model.pth"
    state = torch.load(path, mmap=True, map_location="cpu", weights_only=True)
    numbers: int = sum(tensor.numel() for tensor in state.get("model", state).values())
    return numbers * (2.0 * _QUANTIZED if evaluation.quantize else _ITEM_BYTES[evaluation.precision])


def fit(weight_bytes: float, gpu_bytes: float, gpus: int = 1) -> bool:
    """True if so many GPUs can hold the weights, in equal parts."""
    return weight_bytes <= gpus * _SHARE * gpu_bytes


def problem(
    weight_bytes: float, gpu_bytes: float, gpus: int, *, in_shards: bool | None
) -> tuple[str, str] | None:
    """Why a trial cannot have its model on its GPUs, and what to do; None if it can.

    Args:
        weight_bytes: bytes of the base model's weights.
        gpu_bytes: memory of one GPU.
        gpus: the number of GPUs that the trial has.
        in_shards: whether the weights are divided among its GPUs; None: if one GPU cannot hold them.
    """
    if fit(weight_bytes, gpu_bytes, gpus if in_shards is not False else 1):
        return None
    remedy = "give the trial more GPUs in the profile, take a smaller model, or quantize it"
    if fit(weight_bytes, gpu_bytes, gpus):
        remedy = "leave `sharded = false` out of [evaluation]"
    has = f"{gpus} GPU{'s' * (gpus > 1)} of {gpu_bytes / 2**30:.1f} GiB"
    why = f"the model's weights take {weight_bytes / 2**30:.3g} GiB, and the trial has {has}, of which they "
    return f"{why}may take {_SHARE:.0%}", remedy
