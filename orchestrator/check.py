"""What a study file is checked against, and what a study would do: before anything is submitted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import TypeAdapter, ValidationError

from jobs.limits import lora_problems
from jobs.synthetic import FUNCTIONS
from orchestrator import algorithms
from orchestrator.errors import InputError
from orchestrator.evaluation import (
    HYPERPARAMETERS,
    REQUIRED_HYPERPARAMETERS,
    AnyEvaluation,
    CommandEvaluation,
    Hyperparameters,
    LitGPTEvaluation,
)
from orchestrator.executors.base import Resources
from orchestrator.profile import ClusterProfile
from orchestrator.space import Choice, Float, Int
from orchestrator.spec import WRONG, Entries, Knowledge, Objective, Parameter, StudySpec, read_study
from orchestrator.tomlfile import near
from orchestrator.trial import Configuration, Observation, Value

# Each hyperparameter alone: the bounds of its field.
_FIELDS: dict[str, TypeAdapter[Value]] = {
    name: TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type] # made at run time
    for name, field in Hyperparameters.model_fields.items()
}


def read_checked_study(path: Path, directory: Path | None = None) -> StudySpec:
    """Read a study file against all that this program knows.

    Raises:
        InputError: with every problem of the file.
    """
    return read_study(path, Knowledge(algorithms.check_options, _evaluation_problems, _own_space), directory)


def resources(profile: ClusterProfile) -> Resources:
    """What one evaluation asks of the scheduler under this profile."""
    return Resources(
        hosts=profile.hosts,
        gpus=profile.gpus,
        walltime_min=profile.walltime_min,
        max_jobs=profile.max_jobs,
        setup=profile.setup,
        environment=profile.environment,
        options=profile.options,
    )


@dataclass(frozen=True)
class Forecast:
    """What a study would do, and at most cost.

    Attributes:
        batch: configurations of the first round.
        rounds: how many rounds the budget takes; a tree's depend on the scores, so on a made-up objective.
        wall_clock_h: if every evaluation took its whole wall-time and none waited in the queue.
        host_hours: if every evaluation took its whole wall-time.
    """

    batch: list[Configuration]
    rounds: int
    wall_clock_h: float
    host_hours: float
    gpu_hours: float


def forecast(spec: StudySpec, profile: ClusterProfile) -> Forecast:
    """Ask for the first batch, and play the study through on a made-up objective."""
    budget = spec.budget.evaluations
    each_h = profile.walltime_min / 60
    if budget is None:
        assert spec.budget.gpu_hours is not None
        budget = max(1, math.ceil(spec.budget.gpu_hours / (each_h * profile.gpus * profile.hosts or each_h)))
    batch = _algorithm(spec.algorithm, spec, profile, budget).ask(min(budget, profile.max_jobs))
    # A surrogate's fits would take minutes here; its tree sweeps about as SOO's does.
    simple = {"bamsoo": "soo"}.get(spec.algorithm)
    widths = _widths(simple or spec.algorithm, spec, profile, budget)
    jobs = budget + spec.include_base
    with_base = [widths[0] + spec.include_base, *widths[1:]]
    waves = sum(math.ceil(width / profile.max_jobs) for width in with_base)
    return Forecast(
        batch=[spec.space.decode(suggestion.point) for suggestion in batch],
        rounds=len(widths),
        wall_clock_h=waves * each_h,
        host_hours=jobs * profile.hosts * each_h,
        gpu_hours=jobs * profile.hosts * profile.gpus * each_h,
    )


def _algorithm(name: str, spec: StudySpec, profile: ClusterProfile, budget: int) -> algorithms.Algorithm:
    options = spec.options if name == spec.algorithm else {}
    capacity = profile.max_jobs
    return algorithms.create(name, spec.space, seed=spec.seed, budget=budget, capacity=capacity, **options)


def _widths(name: str, spec: StudySpec, profile: ClusterProfile, budget: int) -> list[int]:
    algorithm = _algorithm(name, spec, profile, budget)
    widths: list[int] = []
    while sum(widths) < budget and (batch := algorithm.ask(min(profile.max_jobs, budget - sum(widths)))):
        widths.append(len(batch))
        algorithm.tell([Observation(s.id, -sum((u - 0.7) ** 2 for u in s.point)) for s in batch])
    return widths


def _own_space(evaluation: AnyEvaluation) -> Entries | None:
    if evaluation.kind != "synthetic" or evaluation.function not in FUNCTIONS:
        return None
    function = FUNCTIONS[evaluation.function]
    bounds = zip(function.names, function.bounds, strict=True)
    return {name: Float(low, high) for name, (low, high) in bounds}


def _evaluation_problems(
    evaluation: AnyEvaluation, entries: Entries, objective: Objective | None
) -> list[tuple[str, str]]:
    """Problems of an evaluation with this space and this objective, as (key, what)."""
    if isinstance(evaluation, CommandEvaluation):
        return []
    if isinstance(evaluation, LitGPTEvaluation):
        problems = _litgpt_problems(evaluation, entries)
        wanted = objective.metrics if objective else ()
        unknown = [metric for metric in wanted if not evaluation.gives(metric)]
        known = ["val_loss", "train_loss", "train_seconds"]
        known += [f"{task.name}/{measure}" for task in evaluation.tasks for measure in ("acc", "acc_norm")]
    else:
        problems = []
        if evaluation.function not in FUNCTIONS:
            what = f'unknown function "{evaluation.function}"{near(evaluation.function, FUNCTIONS)}'
            problems.append(("evaluation.function", what))
        else:
            names = FUNCTIONS[evaluation.function].names
            if entries and set(entries) != set(names):
                problems.append(
                    ("space", f"{evaluation.function} takes {', '.join(names)}; got {', '.join(entries)}")
                )
        unknown = [metric for metric in objective.metrics if metric != "value"] if objective else []
        known = ["value"]
    problems += [
        (
            "objective.metric" if objective and metric == objective.metric else "objective.report",
            f'no evaluation gives "{metric}"{near(metric, known)}',
        )
        for metric in unknown
    ]
    return problems


def _litgpt_problems(evaluation: LitGPTEvaluation, entries: Entries) -> list[tuple[str, str]]:
    problems = [
        (f"space.{name}", f"is no hyperparameter of litgpt{near(name, HYPERPARAMETERS)}")
        for name in entries
        if name not in HYPERPARAMETERS
    ]
    missing = [name for name in REQUIRED_HYPERPARAMETERS if name not in entries]
    if missing and entries:
        problems.append(("space", f"lacks {', '.join(missing)}: give a range or a fixed value"))
    for name, entry in entries.items():
        if name in HYPERPARAMETERS and entry is not WRONG:
            problems += [(f"space.{name}", what) for what in _value_problems(name, entry)]
    highest = _highest(entries.get("lora_rank"))
    shape = Path(evaluation.model) / "model_config.yaml"
    if highest is not None and shape.is_file():
        try:
            found = lora_problems(shape, evaluation.lora_layers, highest)
            problems += [("space.lora_rank", what) for what in found]
        except InputError as error:
            problems += [("evaluation.model", what) for what in error.problems]
    return problems


def _value_problems(name: str, entry: Parameter | Value) -> list[str]:
    """Why litgpt would refuse the ends of a range, an option or a fixed value; one line at most."""
    match entry:
        case Float() | Int():
            values: tuple[Value, ...] = (entry.low, entry.high)
        case Choice():
            values = entry.options
        case _:
            values = (entry,)
    for value in values:
        try:
            _FIELDS[name].validate_python(value, strict=True)
        except ValidationError as invalid:
            return [f"litgpt does not take {value!r}: {invalid.errors()[0]['msg'].lower()}"]
    return []


def _highest(rank: object) -> int | None:
    match rank:
        case Int():
            return rank.high
        case Choice():
            return max((o for o in rank.options if isinstance(o, int)), default=None)
        case int():
            return rank
        case _:
            return None
