"""The attempts at trials, between the ledger and the scheduler: submitted when there is room, and ended
when their results show, or the scheduler says that none will.
"""

from orchestrator.attempts.attempts import Attempts

__all__ = ["Attempts"]
