"""What a job's process runs first, on the compute node: the evaluation, by its name."""

from __future__ import annotations

import importlib
import signal
from collections.abc import Callable
from typing import Any

EVALUATE = "jobs.evaluate:evaluate"
PACK = "jobs.pack:run"  # takes how many share a job, and the attempts of this one


def resolve(entry: str) -> Callable[[str], Any]:
    """Function named "module:function"."""
    module, _, name = entry.partition(":")
    function: Callable[[str], Any] = getattr(importlib.import_module(module), name)
    return function


def call(entry: str, *arguments: str) -> None:
    """Run `entry` on an attempt's directory, or a pack's; its result is the file it writes there.

    submitit has put its own handlers on some signals by now. Its SIGTERM does nothing, so that nothing would
    stop at a cancellation, and its SIGUSR2 requeues the job behind the master's back.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    resolve(entry)(*arguments)
