"""What a model is worth: its loss on held-out instructions, and its scores on tasks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from litgpt.lora import GPT

from jobs.data import Sample, batches
from jobs.failure import EvaluationFailed, diverged
from jobs.finetune import sample_losses
from jobs.language_model import LitGPTModel, tokens_at_once
from jobs.tasks import Suite
from orchestrator.trial import Failure, Metric

_BOOTSTRAPS = 1000  # for the few metrics whose standard error has no formula


def mean(values: Sequence[float]) -> Metric:
    """Mean with its standard error."""
    stderr = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Metric(value=statistics.fmean(values), stderr=stderr, n=len(values))


@torch.inference_mode()
def validation_loss(
    model: GPT,
    samples: Sequence[Sample],
    place: torch.device,
    progress: Callable[[str], None] = lambda _: None,
) -> Metric:
    """Mean over documents of each one's mean loss over its tokens.

    Raises:
        EvaluationFailed: a loss is not finite, or there is no document.
    """
    if not samples:
        raise EvaluationFailed(
            Failure.BAD_DATA, "no held-out document has a target within max_length: raise max_length"
        )
    model.eval()
    losses: list[float] = []
    budget = tokens_at_once(place, model.config.padded_vocab_size)
    for batch in batches([len(sample.ids) for sample in samples], budget):
        losses += sample_losses(model, [samples[i] for i in batch], place).tolist()
        progress(f"{len(losses)} of {len(samples)} documents")
    if bad := sum(not math.isfinite(loss) for loss in losses):
        raise diverged(f"the validation loss of {bad} of {len(losses)} documents is not finite")
    return mean(losses)


def task_scores(model: LitGPTModel, suites: Iterable[Suite]) -> dict[str, Metric]:
    """`task/metric` -> value, for every task and group of `suites`.

    Raises:
        EvaluationFailed: a score is not finite.
    """
    # `simple_evaluate` would add a survey of the machine by a dozen child processes; this is what it calls.
    from lm_eval.evaluator import evaluate

    metrics: dict[str, Metric] = {}
    for suite in suites:
        results = evaluate(
            lm=model,
            task_dict=suite.loaded,
            limit=suite.limit,
            bootstrap_iters=_BOOTSTRAPS,
            log_samples=False,
        )
        metrics |= _metrics(results)
    return metrics


def _metrics(results: dict[str, Any]) -> dict[str, Metric]:
    counts = {name: int(samples["effective"]) for name, samples in results["n-samples"].items()}
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
