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


class OrchestratorError(Exception):
    """Base of every error this program raises on purpose; its text is for the user."""

    exit_code = 1


class InputError(OrchestratorError):
    """Wrong input. Carries every problem found, each with its place and remedy."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class Held(InputError):
    """Another master has the run, or may have it. `at_work`: it does, as well as can be told from here."""

    def __init__(self, problem: str, *, at_work: bool) -> None:
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
