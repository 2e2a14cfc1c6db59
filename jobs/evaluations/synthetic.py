"""The `synthetic` evaluation: a function with a known minimum, in place of a training."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from jobs.attempt.failure import EvaluationFailed, check_finite
from orchestrator.contract import Failure, Metric, SyntheticEvaluation
from orchestrator.contract.synthetic import FUNCTIONS


def synthetic(evaluation: SyntheticEvaluation, configuration: Mapping[str, Any], seed: int) -> Metric:
    """The function's value at `configuration`, after a sleep of `evaluation.seconds`.

    Normal noise is added if the evaluation has some; it is drawn from `seed`.

    Raises:
        EvaluationFailed: there is no such function, a coordinate is missing, or the value is not finite.
    """
    function = FUNCTIONS.get(evaluation.function)
    if function is None:
        known = ", ".join(sorted(FUNCTIONS))
        raise EvaluationFailed(
            Failure.BAD_DATA, f"function {evaluation.function!r} is unknown: give one of {known}"
        )
    if absent := [name for name in function.names if name not in configuration]:
        raise EvaluationFailed(
            Failure.BAD_DATA,
            f"{function.name} needs {', '.join(absent)} in the configuration: name them in [space]",
        )
    time.sleep(evaluation.seconds)
    value = function([float(configuration[name]) for name in function.names])
    if evaluation.noise:
        value += random.Random(seed).gauss(0.0, evaluation.noise)  # noqa: S311 - no secret
    check_finite({"value": value})
    return Metric(value=value, stderr=evaluation.noise or None)
