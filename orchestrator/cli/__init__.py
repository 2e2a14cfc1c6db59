"""The command line: the only part that knows all others.

What a command needs is imported within it: `status` must answer before torch has loaded.
"""

from __future__ import annotations

import os
import signal

__all__ = ["main"]

INTERRUPTED = 130


def main() -> None:
    """Run the command that the arguments say; a Ctrl-C while modules load ends the program without a word."""
    hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # `nohup … &` does not
    if hears:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from orchestrator.cli.program import app

    if hears:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    app(prog_name="orchestrator")
