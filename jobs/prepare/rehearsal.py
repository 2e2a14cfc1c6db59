"""Trial runs of tasks with a stand-in for the model: which files they read, and which metrics they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM

from jobs.attempt.failure import EvaluationFailed
from jobs.tasks.suites import Suite
from jobs.tasks.writing import Writing


class _StandIn(LM):  # type: ignore[misc]
    """Answers everything that lm-eval can ask a model, at once and always alike."""

    def __init__(self, reads: int) -> None:
        super().__init__()
        self._reads = reads

    def loglikelihood(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        return [(-1.0, False)] * len(requests)

    def loglikelihood_rolling(self, requests: Sequence[Any], **_: Any) -> list[float]:
        return [-1.0] * len(requests)

    def generate_until(self, requests: Sequence[Any], **_: Any) -> list[str]:
        for request in requests:
            Writing.of(request.args[1], self._reads)
        return ["A"] * len(requests)


def data_files(suite: Suite) -> list[Path]:
    """The files of the shared cache that hold the tasks' data sets; those made in memory have none."""
    files = set()
    for task in suite.loaded["tasks"].values():
        splits: Any = getattr(task, "dataset", None)
        for split in splits.values() if hasattr(splits, "values") else ():
            files |= {Path(one["filename"]) for one in getattr(split, "cache_files", ())}
    return sorted(files)


def metrics(suite: Suite, *, reads: int, refused: Callable[[], bool] = lambda: False) -> tuple[str, ...]:
    """Names of the metrics that the tasks give, as an evaluation names them; empty if that cannot be known.

    Args:
        suite: the tasks; of each the first document is scored.
        reads: tokens that the model reads at most.
        refused: tells whether the task has tried to use the network.

    Raises:
        EvaluationFailed: a task has a setting that is not supported, or wants more tokens than the model
            reads.
        Exception: whatever the task raised after it had tried to use the network.
    """
    from lm_eval.evaluator import evaluate

    try:
        results = evaluate(
            lm=_StandIn(reads),
            task_dict=suite.loaded,
            limit=1,
            bootstrap_iters=0,
            log_samples=False,
            confirm_run_unsafe_code=True,  # nothing is run: see `code_eval.running`
        )
    except EvaluationFailed:
        raise
    except Exception:
        if refused():
            raise
        return ()  # this task cannot score the stand-in's answer; it may well score a model's
    names = []
    for task, values in results["results"].items():
        for key, value in values.items():
            name, _, filtered = key.partition(",")
            if filtered and not name.endswith("_stderr") and isinstance(value, int | float):
                names.append(f"{task}/{name}" if filtered == "none" else f"{task}/{name},{filtered}")
    return tuple(sorted(names))
