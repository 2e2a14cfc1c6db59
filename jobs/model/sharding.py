"""A base model too large for one device: its weights in shards over processes, the adapters whole on each.

FSDP2 (Zhao et al. 2023, arXiv 2304.11277) brings a block's weights together for as long as it is used. They
are frozen, so nothing but that travels; adapters and their gradients are treated as ever. Processes must call
such a model equally often, and its adapters stay beside its weights: they are not merged.
"""

from __future__ import annotations

import torch
from litgpt.lora import GPT
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from jobs.attempt.failure import EvaluationFailed
from jobs.inputs import memory
from jobs.processes.group import Group
from orchestrator.contract.result import Failure


def is_asked(sharded: bool | None, weight_bytes: int, place: torch.device, group: Group) -> bool:
    """Whether to shard weights of so many bytes.

    Args:
        sharded: what the study says; None: if one device cannot hold the model.
        weight_bytes: of the base model.
        place: this process's device.
        group: the processes to shard over.

    Raises:
        EvaluationFailed: it cannot be done, or the model fits on no device.
    """
    if sharded and group.size == 1:
        raise EvaluationFailed(
            Failure.BAD_DATA,
            "sharded = true, and this trial has one process to keep the weights: give it more GPUs in the "
            "profile, or leave `sharded` out of [evaluation]",
        )
    if place.type != "cuda":
        return bool(sharded)
    gpu_bytes = torch.cuda.get_device_properties(place).total_memory
    if what := memory.problem(weight_bytes, gpu_bytes, group.size, in_shards=sharded):
        raise EvaluationFailed(Failure.BAD_DATA, ": ".join(what))
    return not memory.fit(weight_bytes, gpu_bytes) if sharded is None else sharded


def shard(model: GPT, place: torch.device, group: Group) -> None:
    """Leave this process its part of the weights, on its device."""
    whole = {parameter for name, parameter in model.named_parameters() if "lora_" in name}
    mesh = init_device_mesh(place.type, (group.size,))
    for block in model.transformer.h:
        fully_shard(block, mesh=mesh, ignored_params=whole)
    fully_shard(model, mesh=mesh, ignored_params=whole)


def is_sharded(model: GPT) -> bool:
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())
