"""What the job of `orchestrator doctor --submit` finds on its host. Without torch."""

from jobs.probe import storage
from jobs.probe.facts import EXCHANGES, FACTS, LOCK, PACKAGES, probe, versions

__all__ = ["EXCHANGES", "FACTS", "LOCK", "PACKAGES", "probe", "storage", "versions"]
