"""The one error tree. A leaf is named by what the caller does about it.

OrchestratorError
├── InputError        the user mends a file, an option or a path      exit code 2
│   └── Held          another master has the run: leave it to that    exit code 2
├── SchedulerError    nobody answered: ask again later                exit code 1
│   └── Refused       it said no, nothing was done: mend that         exit code 1
│       └── Full      … for now: with less at once it will be taken   exit code 1
├── StudyStopped      the study cannot go on; its record is whole     exit code 1
└── LedgerCorrupt     the record contradicts itself: a person looks   exit code 1
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Keys = tuple[str | int, ...]


class OrchestratorError(Exception):
    """Base of every error this program raises on purpose; its text is for the user."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input.

    Attributes:
        keys: where: of a table within a table the keys that lead there; empty: nowhere in particular.
        what: what is wrong there, and what to do about it.
    """

    keys: Keys
    what: str

    def __str__(self) -> str:
        """As one line: `space.rank: what`."""
        return f"{'.'.join(map(str, self.keys))}: {self.what}" if self.keys else self.what


class InputError(OrchestratorError):
    """Wrong input.

    Attributes:
        found: every problem.
        problems: the line of each.
    """

    exit_code = 2

    def __init__(self, problems: str | Problem | Sequence[str | Problem]) -> None:
        """A problem that is given as a line has no keys."""
        several = (problems,) if isinstance(problems, str | Problem) else problems
        self.found = tuple(Problem((), one) if isinstance(one, str) else one for one in several)
        self.problems = tuple(map(str, self.found))
        super().__init__("\n".join(self.problems))


class Held(InputError):
    """Another master has the run, or may have it.

    Attributes:
        at_work: it does, as well as can be told from here.
    """

    def __init__(self, problem: str, *, at_work: bool) -> None:
        """`problem` names the other master."""
        super().__init__(problem)
        self.at_work = at_work


class SchedulerError(OrchestratorError):
    """The scheduler refused a call, or did not answer it in time: whether it had an effect is not known."""


class Refused(SchedulerError):
    """The scheduler answered that it will not do it: it had no effect."""


class Full(Refused):
    """The scheduler will not take so many jobs, or so many at once, now."""


class StudyStopped(OrchestratorError):
    """The study ended before its budget was spent; the text says why and how to go on."""


class LedgerCorrupt(OrchestratorError):
    """A line of the ledger, not the torn last one, cannot be right."""


def near(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` or `; known: …` for a word that is none of `known`."""
    known = sorted(known)
    if close := difflib.get_close_matches(word, known, n=1, cutoff=0.6):
        return f'; did you mean "{close[0]}"?'
    return f"; known: {', '.join(known)}" if known else ""
