"""Places to run: `create` names them, one module holds each, `base` is their contract."""

from __future__ import annotations

import importlib

from orchestrator.errors import InputError
from orchestrator.executors.base import Executor, Resources
from orchestrator.executors.call import EVALUATE, PACK

# Imported when asked for: submitit stays out of commands that start no job.
_CLASSES = {
    "local": "orchestrator.executors.local.executor:LocalExecutor",
    "slurm": "orchestrator.executors.slurm.executor:SlurmExecutor",
    "oar": "orchestrator.executors.oar.executor:OarExecutor",
}


def create(scheduler: str, resources: Resources, prefix: str = "", entry: str | None = None) -> Executor:
    """Executor for a scheduler by its name in a cluster profile.

    Args:
        scheduler: "local", "slurm" or "oar".
        resources: of one evaluation.
        prefix: of this study's tokens; a job whose name starts otherwise is not ours, though its id may be.
        entry: "module:function" that a job calls with its attempt's directory; None: the evaluation.

    Raises:
        InputError: no such scheduler, or the resources ask for what it cannot give.
    """
    if scheduler not in _CLASSES:
        raise InputError(
            f"scheduler {scheduler!r} is not driven by this version; it drives {', '.join(_CLASSES)}"
        )
    if entry is None:
        entry = EVALUATE if resources.trials_per_job == 1 else PACK
    module, _, name = _CLASSES[scheduler].partition(":")
    executor: Executor = getattr(importlib.import_module(module), name)(resources, entry, prefix=prefix)
    return executor
