"""The master of a study: it is launched, driven until the study ends, and told what people want of it."""

from orchestrator.master.control import cancel, detach, enqueue
from orchestrator.master.launch import drive, launch

__all__ = ["cancel", "detach", "drive", "enqueue", "launch"]
