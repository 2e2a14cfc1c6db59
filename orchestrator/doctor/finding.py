"""A line of `orchestrator doctor`: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """How a thing is."""

    OK = "ok"
    WARNING = "warning"  # evaluations will run; something may be slower, later or fewer than expected
    WRONG = "wrong"  # evaluations will not run


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        group: the heading it stands under.
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
        return Finding(self.name, Mark.OK, what, says)

    def warning(self, what: str, says: str, remedy: str) -> Finding:
        return Finding(self.name, Mark.WARNING, what, says, remedy)

    def wrong(self, what: str, says: str, remedy: str) -> Finding:
        return Finding(self.name, Mark.WRONG, what, says, remedy)
