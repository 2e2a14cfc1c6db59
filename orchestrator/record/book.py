"""The record of a study in the hands of its master: what it writes, and what that comes to."""

from __future__ import annotations

from typing import Self

from orchestrator.record.directory import RunDirectory
from orchestrator.record.facts import Entry, Fact
from orchestrator.record.history import History
from orchestrator.record.ledger import Ledger, read


class StudyRecord:
    """A ledger that is open for writing, and the history that its facts come to. One master holds it.

    Attributes:
        history: the study so far; each fact that is written is in it at once.
    """

    def __init__(self, ledger: Ledger, history: History) -> None:
        """`history` is what the ledger says so far."""
        self._ledger, self.history = ledger, history

    @classmethod
    def open(cls, run: RunDirectory, *, new: bool = False) -> StudyRecord:
        """Open a run's ledger, or begin it if the run is `new`; the caller holds the run's lock.

        Raises:
            LedgerCorrupt: the file is no ledger; nothing of it was changed.
        """
        history = History() if new else History.replay(read(run.ledger))
        return cls(Ledger(run.ledger), history)

    def write(self, fact: Fact) -> None:
        """Write a fact down, wait until it is on disk, and take it into the history.

        Raises:
            StudyStopped: the disk is full or gone; nothing was written.
        """
        line = self._ledger.append(fact.kind, **fact.content)
        self.history.fold(Entry(line["seq"], line["at"], fact))

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def __enter__(self) -> Self:
        """Return itself; `close` comes at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the ledger."""
        self.close()
