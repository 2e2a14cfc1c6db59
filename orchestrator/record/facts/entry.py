"""A fact in its place: the line of a ledger that says it."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import LedgerCorrupt
from orchestrator.record.facts.fact import Fact
from orchestrator.record.facts.study import (
    Accepted,
    Created,
    Ended,
    Enqueued,
    Extended,
    Noted,
    Reopened,
    Resumed,
)
from orchestrator.record.facts.trials import (
    Asked,
    AskedState,
    Evaluated,
    Failed,
    Refused,
    Submitted,
    Submitting,
    Withdrawn,
)
from orchestrator.record.ledger import Line

_KINDS: dict[str, type[Fact]] = {
    fact.kind: fact
    for fact in (
        *(Created, AskedState, Asked, Submitting, Submitted, Refused, Withdrawn),
        *(Failed, Evaluated, Accepted, Reopened, Extended, Ended, Enqueued, Noted, Resumed),
    )
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A fact in its place in the ledger.

    Attributes:
        seq: number of its line, from 0.
        at: when it was written, seconds since the epoch.
    """

    seq: int
    at: float
    fact: Fact

    @classmethod
    def of(cls, line: Line) -> Entry:
        """Return what a line of a ledger says.

        Raises:
            LedgerCorrupt: no such record can stand there.
        """
        try:
            return cls(line["seq"], line["at"], _KINDS[line["kind"]].parsed(line))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise misplaced(line["seq"], line["kind"], error) from error


def misplaced(seq: int, kind: str, error: Exception) -> LedgerCorrupt:
    """Return what to say of a record that cannot stand where it does."""
    return LedgerCorrupt(
        f"record {seq} of the ledger ({kind}) cannot stand there: {error!r}; "
        "it was changed by another hand, or written by a newer version"
    )
