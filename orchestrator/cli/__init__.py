"""The command line: the only part that knows all others.

What a command needs is imported within it: `status` must answer before torch has loaded.
"""

from __future__ import annotations

import io
import os
import signal
import sys

__all__ = ["main"]

INTERRUPTED = 130


def _make_writable() -> None:
    """See that what is said can be written: to a shell that is not UTF-8, or to nobody."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell, as `>&-` does: a file opened later must not take its place
            null = os.open(os.devnull, os.O_WRONLY)
            if null != descriptor:
                os.dup2(null, descriptor)
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def main() -> None:
    """Run the command that the arguments say; a Ctrl-C while modules load ends the program without a word."""
    _make_writable()
    hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # `nohup … &` does not
    if hears:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from orchestrator.cli.program import app

    if hears:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    app(prog_name="orchestrator")
