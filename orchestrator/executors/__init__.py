"""Places to run: an executor submits attempts to a scheduler, polls and cancels them, and never sees a
score. One is created by the scheduler's name, and submitit loads when one is.
"""

from orchestrator.executors.base import Executor, JobState, Resources, State
from orchestrator.executors.registry import create

__all__ = ["Executor", "JobState", "Resources", "State", "create"]
