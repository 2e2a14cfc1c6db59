"""What master and jobs agree on: the assignment that a job reads, the result that it writes, the
`[evaluation]` section, and files that appear whole. Everything may import it; it imports nothing but
`errors`.
"""

from orchestrator.contract.assignment import Assignment
from orchestrator.contract.evaluation import (
    AnyEvaluation,
    CommandEvaluation,
    LitGPTEvaluation,
    SyntheticEvaluation,
)
from orchestrator.contract.files import publish, publish_once
from orchestrator.contract.result import Failure, Metric, Outcome, Result

__all__ = [
    "AnyEvaluation",
    "Assignment",
    "CommandEvaluation",
    "Failure",
    "LitGPTEvaluation",
    "Metric",
    "Outcome",
    "Result",
    "SyntheticEvaluation",
    "publish",
    "publish_once",
]
