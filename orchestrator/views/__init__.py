"""What people and programs see of a study: tables and JSON values from its record, and the report on disk.

numpy loads with the first tree that is shown, pandas and matplotlib with the first report.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.record import RunDirectory, Summary
from orchestrator.views.queue import queue_facts, queue_view
from orchestrator.views.status import status_facts, status_view, trial_facts, trials_view

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.views.search_tree import Partition

__all__ = [
    "queue_facts",
    "queue_view",
    "status_facts",
    "status_view",
    "tree_view",
    "trial_facts",
    "trials_view",
    "write_report",
]


def tree_view(partition: Partition) -> RenderableType:
    """Return how a tree search has divided the space: the way to the incumbent, each depth's best leaf."""
    from orchestrator.views import tree  # noqa: PLC0415 - it loads numpy

    return tree.tree_view(partition)


def write_report(run: RunDirectory, summary: Summary) -> Path:
    """Write report.md, trials.csv and progress.png to the run's report directory; return report.md."""
    from orchestrator.views import report  # noqa: PLC0415 - most commands write none

    return report.write_report(run, summary)
