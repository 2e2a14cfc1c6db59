"""A line of `orchestrator doctor`: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """Whether a thing is as it should be."""

    OK = "ok"
    WARNING = "warning"  # evaluations will run; something may be slower, later or fewer than expected
    WRONG = "wrong"  # evaluations will not run


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        group: the heading it stands under.
        mark: whether it is as it should be.
        what: the thing, in a word or two.
        says: how it is, with its value.
        remedy: what to do, if it is not as it should be.
    """

    group: str
    mark: Mark
    what: str
    says: str
    remedy: str = ""


class Group:
    """Makes findings under one heading."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ok(self, what: str, says: str) -> Finding:
        """A finding on a thing that is as it should be."""
        return Finding(self.name, Mark.OK, what, says)

    def warning(self, what: str, says: str, remedy: str) -> Finding:
        """A finding on a thing with which evaluations will run, but not as well as they should."""
        return Finding(self.name, Mark.WARNING, what, says, remedy)

    def wrong(self, what: str, says: str, remedy: str) -> Finding:
        """A finding on a thing with which evaluations will not run."""
        return Finding(self.name, Mark.WRONG, what, says, remedy)
