"""The hyperparameters of a configuration, checked."""

from __future__ import annotations

from pydantic import ValidationError

from jobs.attempt.failure import EvaluationFailed, one_line
from orchestrator.contract import Failure
from orchestrator.contract.assignment import Configuration
from orchestrator.contract.evaluation import Hyperparameters


def hyperparameters(configuration: Configuration) -> Hyperparameters | None:
    """The hyperparameters in `configuration`, checked; None if it is empty, for the untouched base model.

    Raises:
        EvaluationFailed: a name is unknown or missing, or a value is out of range.
    """
    if not configuration:
        return None
    try:
        return Hyperparameters.model_validate(configuration)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise EvaluationFailed(Failure.BAD_DATA, f"configuration: {one_line(wrong)}: mend [space]") from error
