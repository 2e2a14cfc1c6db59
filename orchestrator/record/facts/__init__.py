"""What a ledger can say: one class for each kind of record.

Created     what the study is: its text, profile, name of its jobs, versions
AskedState  the algorithm after asking, with its random generator (written before what it asked for)
Asked       what it asked for, at most `limit`: trials with point and configuration
Submitting  these attempts are about to be submitted under this token
Submitted   … and these are their jobs
Refused     … or no job came of it, for the scheduler would not have them: as if it had not been
Withdrawn   a job that waited was taken back before it started
Failed      an attempt ended without an evaluation, and another one follows
Evaluated   a trial's outcome, from that attempt
Accepted    a person says that trials failed of their configurations
Reopened    a stopped study goes on
Extended    the study may spend more
Ended       the study is over, or stopped, and why
Enqueued    a configuration that a person wants tried
Noted       what people are to be told once, by whichever master or tick comes first
Resumed     a master took up the study

A fact is written as the JSON object of its fields. Fields with a default may be missing in the ledgers of
earlier versions; fields that this version does not know, of a later one, are passed over.
"""

from orchestrator.record.facts.entry import Entry, misplaced
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
    Why,
)
from orchestrator.record.facts.trials import (
    Asked,
    AskedState,
    AskedTrial,
    Evaluated,
    Failed,
    Refused,
    Submitted,
    Submitting,
    Withdrawn,
)

__all__ = [
    "Accepted",
    "Asked",
    "AskedState",
    "AskedTrial",
    "Created",
    "Ended",
    "Enqueued",
    "Entry",
    "Evaluated",
    "Extended",
    "Fact",
    "Failed",
    "Noted",
    "Refused",
    "Reopened",
    "Resumed",
    "Submitted",
    "Submitting",
    "Why",
    "Withdrawn",
    "misplaced",
]
