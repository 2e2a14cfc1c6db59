"""What people and programs see of a study: tables and JSON values from its record, and the report on disk.

pandas and matplotlib load with the first report.
"""

from pathlib import Path

from orchestrator.record import RunDirectory, Summary
from orchestrator.views.queue import queue_facts, queue_view
from orchestrator.views.status import status_facts, status_view, trial_facts, trials_view
from orchestrator.views.tree_view import tree_view

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


def write_report(run: RunDirectory, summary: Summary) -> Path:
    """Write report.md, trials.csv and progress.png to the run's report directory; return report.md."""
    from orchestrator.views import report  # noqa: PLC0415 - most commands write none

    return report.write_report(run, summary)
