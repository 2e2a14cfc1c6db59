"""The one error tree. A leaf is named by what the caller does about it.

OrchestratorError
├── InputError        the user mends a file, an option or a path      exit code 2
├── SchedulerError    nobody answered or it refused: ask again later  exit code 1
├── StudyStopped      the study cannot go on; its record is whole     exit code 1
└── LedgerCorrupt     the record contradicts itself: a person looks   exit code 1
"""

from __future__ import annotations

from collections.abc import Sequence


class OrchestratorError(Exception):
    """Base of every error this program raises on purpose; its text is for the user."""

    exit_code = 1


class InputError(OrchestratorError):
    """Wrong input. Carries every problem found, each with its place and remedy."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class SchedulerError(OrchestratorError):
    """The scheduler refused a call, or did not answer it in time."""


class StudyStopped(OrchestratorError):
    """The study ended before its budget was spent; the text says why and how to go on."""


class LedgerCorrupt(OrchestratorError):
    """A line of the ledger, not the torn last one, cannot be right."""
