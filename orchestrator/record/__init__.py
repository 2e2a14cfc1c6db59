"""The record of a study on the shared filesystem: the ledger of facts, the history that they come to, the
run directory and its lock, and what readers want to know of it all.
"""

from orchestrator.record.book import StudyRecord
from orchestrator.record.directory import RunDirectory
from orchestrator.record.history import Attempt, History, Trial
from orchestrator.record.lock import MasterLock
from orchestrator.record.summary import Summary, look

__all__ = ["Attempt", "History", "MasterLock", "RunDirectory", "StudyRecord", "Summary", "Trial", "look"]
