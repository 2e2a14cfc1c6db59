"""What a study file is checked against, and what a study would do: before anything is submitted."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import TypeAdapter, ValidationError

from jobs.inputs import Prepared, length_problems, lora_problems, require_prepared
from jobs.inputs.limits import CONFIG
from orchestrator import algorithms, executors
from orchestrator.config import ClusterProfile, StudySpec, read_study
from orchestrator.config.profile import resources
from orchestrator.config.space_section import WRONG, Entries
from orchestrator.config.study import Knowledge, Wanted
from orchestrator.contract import AnyEvaluation, CommandEvaluation, LitGPTEvaluation
from orchestrator.contract.assignment import Value
from orchestrator.contract.evaluation import HYPERPARAMETERS, REQUIRED_HYPERPARAMETERS, Hyperparameters
from orchestrator.contract.synthetic import FUNCTIONS
from orchestrator.errors import InputError, Problem, near
from orchestrator.preflight.profiles import read_checked_profile
from orchestrator.record import History, RunDirectory
from orchestrator.space.space import Choice, Float, Int, Parameter

# Each hyperparameter alone: the bounds of its field.
_FIELDS: dict[str, TypeAdapter[Value]] = {
    name: TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type] # made at run time
    for name, field in Hyperparameters.model_fields.items()
}


_LESS_IS_BETTER = {"loss", "error", "err", "perplexity", "ppl", "wer", "cer", "rmse", "mse", "mae", "nll"}
_MORE_IS_BETTER = {
    "acc",
    "accuracy",
    "norm",
    "f1",
    "auc",
    "bleu",
    "rouge",
    "reward",
    "pass",
    "precision",
    "recall",
}
_SCRIPTS = (".py", ".sh", ".R", ".jl", ".pl")  # ends of names of programs that an interpreter reads


def read_checked_study(path: Path, directory: Path | None = None) -> StudySpec:
    """Read a study file against all that this program knows.

    Raises:
        InputError: with every problem of the file.
    """
    learners = [entry.name for entry in algorithms.ALGORITHMS.values() if entry.learns]
    knowledge = Knowledge(algorithms.check_options, _evaluation_problems, _own_space, learners)
    return read_study(path, knowledge, directory)


def read_launched_study(run: RunDirectory, history: History) -> StudySpec:
    """The study of a run as it was launched, with what it goes on with.

    Raises:
        InputError: with every problem of the file.
    """
    spec = read_checked_study(run.study, Path(history.created.path).parent)
    return replace(spec, promoted=history.created.promoted)


def read_both(study: Path, profile_name: str) -> tuple[StudySpec, ClusterProfile, Path]:
    """Read a study and the profile it is to run under.

    Returns:
        Study, profile, and the profile's file.

    Raises:
        InputError: with the problems of both files, or of the two together.
    """
    problems: list[str] = []
    spec = found = None
    try:
        spec = read_checked_study(study)
    except InputError as error:
        problems += error.problems
    try:
        found = read_checked_profile(profile_name)
    except InputError as error:
        problems += error.problems
    if spec is not None:
        problems += [f"{study}: {problem}" for problem in _absent_programs(spec)]
    if spec is not None and found is not None:
        gpus = found[0].gpus
        if not problems:
            preview(spec, found[0])  # a path that the scheduler cannot take
        if spec.budget.gpu_hours is not None and not gpus:
            problems.append(
                f"{study}: budget.gpu_hours: profile {profile_name} has no GPUs: give `evaluations`"
            )
        if isinstance(spec.evaluation, LitGPTEvaluation) and spec.evaluation.quantize and not gpus:
            problems.append(
                f"{study}: evaluation.quantize: needs a CUDA GPU, and profile {profile_name} has none: "
                "leave it out, or use another profile"
            )
    if spec is None or found is None or problems:
        raise InputError(problems)
    return spec, *found


def doubts(spec: StudySpec) -> list[str]:
    """Return what may well be a mistake in a study that is valid, a line each."""
    objective, found = spec.objective, list[str]()
    words = set(re.split(r"[/_.@,-]", objective.metric.lower()))
    if objective.direction == "maximize" and words & _LESS_IS_BETTER:
        found.append(f'{objective.metric} is maximized: if less of it is better, give "minimize"')
    if objective.direction == "minimize" and words & _MORE_IS_BETTER and not words & _LESS_IS_BETTER:
        found.append(f'{objective.metric} is minimized: if more of it is better, give "maximize"')
    if isinstance(spec.evaluation, CommandEvaluation):
        paths = [word for word in spec.evaluation.command if word.startswith("/") and not Path(word).exists()]
        found += [f"{path} is not there, on this host at any rate" for path in paths]
    return [f"mind: {what}" for what in found]


def _absent_programs(spec: StudySpec) -> list[Problem]:
    """Programs of a command that are named as files beside the study, and are not there."""
    if not isinstance(spec.evaluation, CommandEvaluation):
        return []  # what is beside the study has become an absolute path
    absent = [
        word
        for number, word in enumerate(spec.evaluation.command)
        if not word.startswith("/") and (word.endswith(_SCRIPTS) or (number == 0 and "/" in word))
    ]
    what = "there is no such file beside the study: write it, or give its whole path"
    return [Problem(("evaluation", "command"), f"{word}: {what}") for word in absent]


def preview(spec: StudySpec, profile: ClusterProfile, jobs: int = 1) -> str:
    """The script or argv of a first submission of so many jobs.

    Raises:
        InputError: the scheduler cannot be asked so.
    """
    run, token = profile.runs_path / spec.name, f"{spec.name[:24]}-000000-0000"
    attempts = [run / "trials" / f"{n:04d}" / "attempt-1" for n in range(jobs)]
    executor = executors.create(profile.scheduler, resources(profile))
    return executor.preview(attempts, token, run / "jobs" / token)


def prepared_inputs(spec: StudySpec, cache: Path, *, sources: bool = True) -> str:
    """Digest of what `prepare` froze for the study; empty if its evaluation reads nothing of that kind.

    Args:
        spec: the study.
        cache: the shared cache.
        sources: also demand that the user's own files are as they were.

    Raises:
        InputError: something is missing or changed, or the model does not allow the space's ranks.
    """
    if not isinstance(spec.evaluation, LitGPTEvaluation):
        return ""
    prepared = require_prepared(spec.evaluation, cache, sources=sources)
    entries = spec.space.parameters | spec.space.fixed
    problems = [
        f"{spec.path}: space.lora_rank: {what}"
        for what in _rank_problems(spec.evaluation, entries, prepared.model)
    ]
    wanted: Wanted = [(("objective", "metric"), spec.objective.metric)]
    wanted += [(("objective", "report"), metric) for metric in spec.objective.report]
    problems += [f"{spec.path}: {problem}" for problem in _absent_metrics(prepared, wanted)]
    if problems:
        raise InputError(problems)
    return prepared.digest


def _absent_metrics(prepared: Prepared, wanted: Wanted) -> list[Problem]:
    """Metrics that no task was seen to give; nothing is said of a task whose metrics are not known."""
    given = {metric for task in prepared.tasks for metric in task.metrics}
    of_task = defaultdict[str, list[str]](list)
    for metric in sorted(given):
        task, _, measure = metric.partition("/")
        of_task[task].append(measure)
    all_known = all(task.metrics for task in prepared.tasks)
    problems = []
    for keys, metric in wanted:
        task, slash, _ = metric.partition("/")
        if not slash or metric in given or not (all_known or task in of_task):
            continue
        if task in of_task:
            problems.append(
                Problem(keys, f'no evaluation gives "{metric}": {task} gives {", ".join(of_task[task])}')
            )
        else:
            problems.append(Problem(keys, f'no evaluation gives "{metric}"{near(task, of_task)}'))
    return problems


def _own_space(evaluation: AnyEvaluation) -> Entries | None:
    if evaluation.kind != "synthetic" or evaluation.function not in FUNCTIONS:
        return None
    function = FUNCTIONS[evaluation.function]
    bounds = zip(function.names, function.bounds, strict=True)
    return {name: Float(low, high) for name, (low, high) in bounds}


def _evaluation_problems(evaluation: AnyEvaluation, entries: Entries, wanted: Wanted) -> list[Problem]:
    """Problems of an evaluation with this space and these wanted metrics."""
    if isinstance(evaluation, CommandEvaluation):
        return []
    if isinstance(evaluation, LitGPTEvaluation):
        problems = _litgpt_problems(evaluation, entries)
        unknown = [(keys, metric) for keys, metric in wanted if not evaluation.gives(metric)]
        known = ["val_loss", "train_loss", "train_seconds"]
        known += [f"{task.name}/{measure}" for task in evaluation.tasks for measure in ("acc", "acc_norm")]
    else:
        problems = []
        if evaluation.function not in FUNCTIONS:
            what = f'unknown function "{evaluation.function}"{near(evaluation.function, FUNCTIONS)}'
            problems.append(Problem(("evaluation", "function"), what))
        else:
            names = FUNCTIONS[evaluation.function].names
            if entries and set(entries) != set(names):
                what = f"{evaluation.function} takes {', '.join(names)}; got {', '.join(entries)}"
                problems.append(Problem(("space",), what))
            problems += [
                Problem(("space", name), f"{evaluation.function} always takes it: leave `when` out")
                for name, entry in entries.items()
                if _is_conditional(entry)
            ]
        unknown = [(keys, metric) for keys, metric in wanted if metric != "value"]
        known = ["value"]
    problems += [
        Problem(keys, f'no evaluation gives "{metric}"{near(metric, known)}') for keys, metric in unknown
    ]
    return problems


def _litgpt_problems(evaluation: LitGPTEvaluation, entries: Entries) -> list[Problem]:
    problems = [
        Problem(("space", name), f"is no hyperparameter of litgpt{near(name, HYPERPARAMETERS)}")
        for name in entries
        if name not in HYPERPARAMETERS
    ]
    missing = [name for name in REQUIRED_HYPERPARAMETERS if name not in entries]
    if missing and entries:
        problems.append(Problem(("space",), f"lacks {', '.join(missing)}: give a range or a fixed value"))
    for name, entry in entries.items():
        if name in HYPERPARAMETERS and entry is not WRONG:
            problems += [Problem(("space", name), what) for what in _value_problems(name, entry)]
        if name in REQUIRED_HYPERPARAMETERS and _is_conditional(entry):
            problems.append(Problem(("space", name), "litgpt always needs it: leave `when` out"))
    try:
        problems += [
            Problem(("space", "lora_rank"), what)
            for what in _rank_problems(evaluation, entries, evaluation.model)
        ]
        problems += [Problem(("evaluation", "max_length"), what) for what in _length_problems(evaluation)]
    except InputError as error:
        problems += [Problem(("evaluation", "model"), what) for what in error.problems]
    return problems


def _is_conditional(entry: Parameter | Value) -> bool:
    return isinstance(entry, Float | Int | Choice) and bool(entry.when)


def _rank_problems(evaluation: LitGPTEvaluation, entries: Entries, model: str) -> list[str]:
    """Why the model allows no such ranks; nothing is said of one that is not there yet."""
    shape = Path(model) / CONFIG
    highest = _highest(entries.get("lora_rank"))
    if highest is None or not shape.is_file():
        return []
    return lora_problems(shape, evaluation.lora_layers, highest)


def _length_problems(evaluation: LitGPTEvaluation) -> list[str]:
    """Why the model reads no such sequences; nothing is said of one that is not there yet."""
    shape = Path(evaluation.model) / CONFIG
    return length_problems(shape, evaluation.max_length) if shape.is_file() else []


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
