"""Which GPUs of this host a local job gets: those that the fewest other jobs have."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

_VARIABLE = "CUDA_VISIBLE_DEVICES"


def free_devices(count: int, jobs: Sequence[Mapping[str, str]]) -> str:
    """Value of CUDA_VISIBLE_DEVICES for a job with `count` GPUs; fewer if the host has no more.

    Args:
        count: GPUs asked for; 0 hides them all.
        jobs: the environments of the jobs that run now.
    """
    users = Counter(device for job in jobs for device in job.get(_VARIABLE, "").split(",") if device)
    return ",".join(sorted(_devices(), key=lambda device: users[device])[:count])


def _devices() -> list[str]:
    """What the master itself may see, else every GPU the driver shows."""
    if (visible := os.environ.get(_VARIABLE)) is not None:
        return [device.strip() for device in visible.split(",") if device.strip()]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]
