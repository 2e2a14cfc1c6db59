"""A base model too large for one device: every process keeps a shard of its weights, and all adapters.

FSDP2 (Zhao et al. 2023, arXiv 2304.11277) gathers the weights of a block for as long as they are used. They
are frozen, so nothing else has to be exchanged for them; adapters and their gradients are treated as without
sharding. All processes must call such a model equally often, and its adapters are not merged into its
weights.
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
from orchestrator.contract import Failure


def is_asked(sharded: bool | None, weight_bytes: int, device: torch.device, group: Group) -> bool:
    """True if the weights of a model are to be sharded.

    Args:
        sharded: what the study says; None: shard if one device cannot hold the weights.
        weight_bytes: bytes of the base model's weights.
        device: this process's device.
        group: the processes to shard over.

    Raises:
        EvaluationFailed: there is only one process to shard over, or the devices cannot hold the weights.
    """
    if sharded and group.size == 1:
        raise EvaluationFailed(
            Failure.BAD_DATA,
            "sharded = true, and this trial has one process to keep the weights: give it more GPUs in the "
            "profile, or leave `sharded` out of [evaluation]",
        )
    if device.type != "cuda":
        return bool(sharded)
    gpu_bytes = torch.cuda.get_device_properties(device).total_memory
    if what := memory.problem(weight_bytes, gpu_bytes, group.size, in_shards=sharded):
        raise EvaluationFailed(Failure.BAD_DATA, ": ".join(what))
    return not memory.fit(weight_bytes, gpu_bytes) if sharded is None else sharded


def shard(model: GPT, device: torch.device, group: Group) -> None:
    """Divide the weights of `model` among the processes of `group`; this one keeps its shard on `device`."""
    whole = {parameter for name, parameter in model.named_parameters() if "lora_" in name}
    mesh = init_device_mesh(device.type, (group.size,))
    for block in model.transformer.h:
        fully_shard(block, mesh=mesh, ignored_params=whole)
    fully_shard(model, mesh=mesh, ignored_params=whole)


def is_sharded(model: GPT) -> bool:
    """True if a weight of `model` is divided among processes."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())
