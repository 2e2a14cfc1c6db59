"""What is known before anything is submitted: whether study and profile are right by themselves and
together, what a study begins with, and what it may cost.
"""

from orchestrator.preflight.beginning import new_algorithm
from orchestrator.preflight.forecast import forecast
from orchestrator.preflight.profiles import read_checked_profile
from orchestrator.preflight.studies import prepared_inputs, read_both, read_checked_study

__all__ = [
    "forecast",
    "new_algorithm",
    "prepared_inputs",
    "read_both",
    "read_checked_profile",
    "read_checked_study",
]
