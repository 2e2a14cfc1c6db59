"""The processes that work on one trial together: one per GPU, over hosts; often just this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")
_PATIENCE = timedelta(minutes=30)  # for the slowest process: hosts differ in how fast they read a model


@dataclass(frozen=True)
class Group:
    """A process and those that work on the same trial. All call the same methods in the same order.

    Attributes:
        rank: of this process; 0 leads: it keeps states and gives the result.
        size: how many there are.
        device: this process's device; None: not yet chosen.
        lockstep: all must call the model equally often.
    """

    rank: int = 0
    size: int = 1
    device: torch.device | None = None
    lockstep: bool = False

    @property
    def leads(self) -> bool:
        """True if this process is the leader."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """The items for this process: each item is for one process, and sorted ones are divided evenly."""
        return list(items[self.rank :: self.size])

    def padded(self, batches: Sequence[T], spare: T) -> list[tuple[T, bool]]:
        """The batches of this process, and True for each.

        In lockstep `spare` follows, with False, until all processes have equally many: the model must be
        called with it, and the result ignored.
        """
        most = max(self.gathered(len(batches))) if self.lockstep else len(batches)
        return [(batch, True) for batch in batches] + [(spare, False)] * (most - len(batches))

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in one message; equal bits on all of them."""
        if self.size == 1:
            return
        whole = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
        distributed.all_reduce(whole)
        pieces = torch.split(whole, [tensor.numel() for tensor in tensors])
        for tensor, piece in zip(tensors, pieces, strict=True):
            tensor.copy_(piece.view_as(tensor))

    def gathered(self, value: T) -> list[T]:
        """What each process gave, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values  # type: ignore[return-value]  # all are filled

    def from_leader(self, value: T) -> T:
        """What the leader gave; what the others give is ignored."""
        if self.size == 1:
            return value
        values = [value if self.leads else None]
        distributed.broadcast_object_list(values, src=0)
        return values[0]  # type: ignore[return-value]  # the leader's


ALONE = Group()


def join(environment: Mapping[str, str], device: torch.device) -> Group:
    """Join the group that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT describe, as torchrun sets them."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        init_method=f"tcp://{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}",
        rank=int(environment["RANK"]),
        world_size=int(environment["WORLD_SIZE"]),
        timeout=_PATIENCE,
    )
    return Group(int(environment["RANK"]), int(environment["WORLD_SIZE"]), device)
