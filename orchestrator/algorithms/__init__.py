"""The search algorithms. They live in the unit cube, maximize, and keep the laws of `base`; one is created
by its name, and torch loads when one that needs it is.
"""

from orchestrator.algorithms.base import Algorithm, KnownScore, Observation, Suggestion
from orchestrator.algorithms.registry import ALGORITHMS, check_options, create

__all__ = ["ALGORITHMS", "Algorithm", "KnownScore", "Observation", "Suggestion", "check_options", "create"]
