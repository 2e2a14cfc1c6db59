"""The names under which programs imported these words before they had rooms of their own."""

from orchestrator.algorithms import KnownScore as Known
from orchestrator.algorithms import Observation, Suggestion
from orchestrator.contract import Assignment, Failure, Metric, Outcome
from orchestrator.contract import Result as Evaluation
from orchestrator.contract.assignment import Configuration, Value
from orchestrator.space import Point

__all__ = [
    "Assignment",
    "Configuration",
    "Evaluation",
    "Failure",
    "Known",
    "Metric",
    "Observation",
    "Outcome",
    "Point",
    "Suggestion",
    "Value",
]
