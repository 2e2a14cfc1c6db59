"""The command line: the only part that knows all others.

What a command needs is imported within it: `status` must answer before torch has loaded.
"""

from __future__ import annotations

from orchestrator.cli import runs, studies
from orchestrator.cli.console import app

__all__ = ["main", "runs", "studies"]


def main() -> None:
    app(prog_name="orchestrator")
