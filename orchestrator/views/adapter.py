"""Which trial's adapter a person means, whether it is there, and what is to be known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config import StudySpec
from orchestrator.contract import LitGPTEvaluation, Result
from orchestrator.contract.attempt import CHECKPOINT
from orchestrator.errors import InputError
from orchestrator.record import History, RunDirectory, Summary, Trial
from orchestrator.record.summary import kept, outcome

BEST = "best"
_DIGESTS = ("inputs", "adapter", "training")


@dataclass(frozen=True)
class Chosen:
    """A trial with an adapter.

    Attributes:
        trial: that ran; one that shares its score has no adapter of its own.
        evaluation: its outcome.
        file: the adapter.
        digest: of the adapter, as the job saw it.
    """

    trial: Trial
    evaluation: Result
    file: Path
    digest: str


def litgpt(spec: StudySpec, run: RunDirectory) -> LitGPTEvaluation:
    """
    Raises:
        InputError: the study's evaluation leaves no adapters.
    """
    if not isinstance(spec.evaluation, LitGPTEvaluation):
        left = run.path / "trials" / "*" / CHECKPOINT
        raise InputError(
            f"{run.path}: a {spec.evaluation.kind} evaluation leaves no adapters"
            + (f"; what the program kept is in {left}" if spec.evaluation.kind == "command" else "")
        )
    return spec.evaluation


def choose(which: str, run: RunDirectory, spec: StudySpec, history: History) -> Chosen:
    """The adapter of the incumbent, or of the trial of that number.

    Raises:
        InputError: there is none, and why.
    """
    summary = Summary(history)
    if which == BEST:
        trial = summary.incumbent
        if trial is None:
            raise InputError(f"{run.path}: no trial has a score yet: there is no best one")
    elif which.isdecimal() and int(which) < len(history.trials):
        trial = history.source(history.trials[int(which)])
    else:
        count = len(history.trials)
        raise InputError(
            f'--adapter {which}: no such trial: give "{BEST}"' + (f" or 0 to {count - 1}" if count else "")
        )
    evaluation, named = trial.evaluation, f"trial {trial.number}"
    if trial.suggestion is None:
        raise InputError(f"{named} is the untouched base model: it has no adapter")
    if evaluation is None or evaluation.failure is not None:
        raise InputError(f"{named} has no score ({outcome(summary, trial)}): it has no adapter")
    file, digest = run.adapter(trial.number), evaluation.versions.get("adapter")
    if digest is None or not file.is_file():
        raise InputError(f"{named}: its adapter is not there: {_why_not(trial, spec, history)}")
    return Chosen(trial, evaluation, file, digest)


def _why_not(trial: Trial, spec: StudySpec, history: History) -> str:
    best = kept(history, spec.keep_adapters)
    if trial in best:
        return "it was removed by another hand"
    if not best:
        return "keep_adapters = 0 in the study keeps none"
    numbers = ", ".join(str(one.number) for one in best)
    return f"keep_adapters = {spec.keep_adapters} in the study keeps those of the best: trials {numbers}"


def facts(
    chosen: Chosen, spec: StudySpec, run: RunDirectory, history: History, model: Path
) -> dict[str, Any]:
    """What is written beside an exported adapter."""
    evaluation = litgpt(spec, run)
    return {
        "study": spec.name,
        "run": str(run.path),
        "trial": chosen.trial.number,
        "configuration": chosen.trial.configuration,
        "objective": spec.objective.model_dump(mode="json"),
        "metrics": {
            name: metric.model_dump(mode="json", exclude_none=True)
            for name, metric in chosen.evaluation.metrics.items()
        },
        "base_model": evaluation.model,
        "base_model_path": str(model),
        "lora_layers": list(evaluation.lora_layers),
        "prompt_style": evaluation.prompt_style,
        "precision": evaluation.precision,
        "quantize": evaluation.quantize,
        "digests": {"inputs": history.created.inputs, "adapter": chosen.digest},
        "versions": {k: v for k, v in chosen.evaluation.versions.items() if k not in _DIGESTS},
    }
