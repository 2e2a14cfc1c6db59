"""Measures a model: its loss on held-out instructions, and its scores on tasks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from litgpt.lora import GPT

from jobs.attempt.failure import EvaluationFailed, diverged
from jobs.data.tokens import Sample, batches
from jobs.model.loss import sample_losses
from jobs.processes.group import ALONE, Group
from jobs.tasks.language_model import LitGPTModel, tokens_at_once
from jobs.tasks.suites import Suite
from orchestrator.contract import Failure, Metric

_BOOTSTRAPS = 1000  # for the few metrics whose standard error has no formula


def mean(values: Sequence[float]) -> Metric:
    """The mean of `values` with its standard error, s / √n; without one for a single value."""
    stderr = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Metric(value=statistics.fmean(values), stderr=stderr, n=len(values))


@torch.inference_mode()
def validation_loss(
    model: GPT,
    samples: Sequence[Sample],
    device: torch.device,
    progress: Callable[[str], None] = lambda _: None,
    group: Group = ALONE,
) -> Metric:
    """The mean over `samples` of each one's mean loss (nats per token), computed by all processes of `group`.

    Raises:
        EvaluationFailed: a loss is not finite, or there is no document.
    """
    if not samples:
        raise EvaluationFailed(
            Failure.BAD_DATA, "no held-out document has a target within max_length: raise max_length"
        )
    model.eval()
    found: dict[int, float] = {}  # document -> loss
    mine = group.share(sorted(range(len(samples)), key=lambda i: len(samples[i].ids)))
    budget = tokens_at_once(device, model.config.padded_vocab_size)
    rows = [[mine[i] for i in batch] for batch in batches([len(samples[i].ids) for i in mine], budget)]
    for which, counts in group.padded(rows, [0]):
        losses = sample_losses(model, [samples[i] for i in which], device)
        if counts:
            found.update(zip(which, losses.tolist(), strict=True))
        progress(f"{len(found)} of {len(mine)} documents")
    found = {document: loss for part in group.gathered(found) for document, loss in part.items()}
    values = [found[document] for document in range(len(samples))]
    if bad := sum(not math.isfinite(value) for value in values):
        raise diverged(f"the validation loss of {bad} of {len(values)} documents is not finite")
    return mean(values)


def task_scores(model: LitGPTModel, suites: Iterable[Suite]) -> dict[str, Metric]:
    """The metrics of every task and group of tasks in `suites`, by their names "task/metric".

    They are returned on the leader of the model's group of processes; on the others the result is empty.

    Raises:
        EvaluationFailed: a score is not finite; or the model is sharded, and a task has fewer documents than
            there are processes.
    """
    # lm-eval's `simple_evaluate` calls this too, but also examines the machine with a dozen child processes.
    from lm_eval.evaluator import evaluate

    metrics: dict[str, Metric] = {}
    for suite in suites:
        chosen, scorer = suite.chosen(), model
        if (fewest := min(map(len, chosen.values()))) < model.world_size:  # lm-eval needs one for each
            if model.group.lockstep:
                raise EvaluationFailed(
                    Failure.BAD_DATA,
                    f"a task of {', '.join(chosen)} has {fewest} documents, which is fewer than the "
                    f"{model.group.size} processes of a sharded model: score more of it",
                )
            if not model.group.leads:
                continue
            scorer = model.alone()
        results = evaluate(
            lm=scorer,
            task_dict=suite.loaded,
            samples=chosen,
            bootstrap_iters=_BOOTSTRAPS,
            log_samples=False,
            confirm_run_unsafe_code=True,  # `stock_suite` refuses tasks that may not run it
        )
        if results is not None:
            metrics |= _metrics(results, {name: len(documents) for name, documents in chosen.items()})
    return metrics


def _metrics(results: dict[str, Any], counts: dict[str, int]) -> dict[str, Metric]:
    """lm-eval's results as metrics, named "task/metric", or "task/metric,filter" if a filter was applied.

    Args:
        results: as lm-eval's `evaluate` returns them.
        counts: the number of documents of each task.

    Raises:
        EvaluationFailed: a score is not finite.
    """
    metrics = {}
    for task, values in results["results"].items():
        for key, value in values.items():
            name, _, filtered = key.partition(",")
            if not filtered or name.endswith("_stderr") or not isinstance(value, int | float):
                continue
            stderr = values.get(f"{name}_stderr,{filtered}")
            known = isinstance(stderr, int | float) and math.isfinite(stderr)
            # A group's count is lm-eval's own sum over its tasks.
            n = counts.get(task, values.get("sample_len"))
            full = f"{task}/{name}" if filtered == "none" else f"{task}/{name},{filtered}"
            if not math.isfinite(value):
                raise diverged(f"metric {full} is {value}")
            metrics[full] = Metric(value=float(value), stderr=float(stderr) if known else None, n=n)
    return metrics
