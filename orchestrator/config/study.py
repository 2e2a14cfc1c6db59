"""A study file (TOML), validated whole: every mistake in one report, with its line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from orchestrator.config.first import first_configurations
from orchestrator.config.space_section import Entries, build_space, read_entries
from orchestrator.config.tomlfile import TomlFile
from orchestrator.contract import AnyEvaluation, CommandEvaluation, LitGPTEvaluation
from orchestrator.contract.assignment import Configuration, Promoted
from orchestrator.contract.evaluation import DEMO, MODULE, LocalTask, TaskFile
from orchestrator.contract.objective import Budget, Objective
from orchestrator.contract.strict import Many, Section
from orchestrator.errors import InputError, Keys, Problem
from orchestrator.space import SearchSpace

Wanted = list[tuple[Keys, str]]  # keys in the file, metric
KEPT_ADAPTERS = 3


@dataclass(frozen=True)
class StudySpec:
    """A study as its file says it."""

    name: str
    seed: int
    budget: Budget
    algorithm: str
    options: dict[str, Any]
    objective: Objective
    space: SearchSpace
    evaluation: AnyEvaluation
    include_base: bool
    path: Path
    text: str
    enqueue: tuple[Configuration, ...] = ()  # to try first, whole and feasible
    warm_start: tuple[Path, ...] = ()  # run directories of other studies, to learn from
    promote: Path | None = None  # run directory of a study that trained less …
    promoted: tuple[Promoted, ...] = ()  # … and its trials that this one goes on with; known at launch
    keep_adapters: int = KEPT_ADAPTERS  # of so many best trials; of a `litgpt` evaluation only

    @property
    def most_evaluations(self) -> int:
        """Evaluations at most; where only GPU-hours are given, more than they could ever pay."""
        return self.budget.evaluations or 100_000

    @property
    def first(self) -> list[Configuration]:
        """The configurations to try before any other."""
        promoted = [one.configuration for one in self.promoted]
        return promoted + [one for one in self.enqueue if one not in promoted]

    def promotion(self, configuration: Configuration) -> Promoted | None:
        """The trial of another study that one with this configuration goes on with."""
        return next((one for one in self.promoted if one.configuration == configuration), None)

    def seed_of(self, trial: int, configuration: Configuration) -> int:
        """What the random numbers of a trial's evaluation follow from."""
        promoted = self.promotion(configuration)
        return (self.seed * 1_000_003 + trial) % 2**31 if promoted is None else promoted.seed


@dataclass(frozen=True)
class Knowledge:
    """What a study file is checked against beyond its own words: asked of the layers above, so that all
    problems come in one report.

    Attributes:
        algorithm: problems of an algorithm's name and options.
        evaluation: problems of an evaluation with this space and these wanted metrics.
        own_space: the space that an evaluation brings along; None if it has none.
        learners: names of the algorithms that can learn from other studies.
    """

    algorithm: Callable[[str, dict[str, Any]], list[str]]
    evaluation: Callable[[AnyEvaluation, Entries, Wanted], list[Problem]]
    own_space: Callable[[AnyEvaluation], Entries | None]
    learners: Sequence[str]


def _directory_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise ValueError(
            "it names the run's directory: up to 64 of A-Z a-z 0-9 _ . - after a letter or digit"
        )
    return name


class _Head(Section):
    name: Annotated[str, AfterValidator(_directory_name)]
    seed: Annotated[int, Field(ge=0)]
    include_base: bool = False
    include_default: bool = False
    enqueue: Many[Configuration] = ()
    warm_start: Many[str] = ()
    promote: str | None = None
    # Of so many best trials the adapter stays; what the others trained is removed once they are evaluated.
    # Only `litgpt` evaluations have it. What a command keeps in ORCHESTRATOR_CHECKPOINT is the user's own and
    # stays: nobody but the program knows what of it is still wanted.
    keep_adapters: Annotated[int, Field(ge=0)] | None = None


_SECTIONS = ("budget", "algorithm", "objective", "space", "evaluation")


def read_study(path: Path, knowledge: Knowledge, directory: Path | None = None) -> StudySpec:
    """Read and validate a study file.

    Args:
        path: the TOML file.
        knowledge: what it is checked against.
        directory: where its relative paths start, if not at its own place.

    Raises:
        InputError: with every problem of the file.
    """
    file = TomlFile.read(path)
    problems: list[str] = []
    head = file.section(
        (), {k: v for k, v in file.content.items() if k not in _SECTIONS}, _Head, problems, _SECTIONS
    )
    tables = {name: file.content.get(name, {}) for name in _SECTIONS}
    for name, table in tables.items():
        if not isinstance(table, dict):
            problems.append(file.problem((name,), f"must be a table, [{name}]"))
            tables[name] = {}
        elif not table and name != "space":
            problems.append(file.problem((), f"section [{name}] is missing or empty"))

    def validated(name: str, model: Any) -> Any:
        return file.section((name,), tables[name], model, problems) if tables[name] else None

    budget = validated("budget", Budget)
    objective = validated("objective", Objective)
    evaluation = validated("evaluation", AnyEvaluation)
    directory = (directory or path.parent).absolute()
    if evaluation is not None:
        evaluation = _located(evaluation, directory)
    algorithm, options = _algorithm(file, tables["algorithm"], knowledge, problems)
    entries = read_entries(file, tables["space"], evaluation, knowledge.own_space, problems)
    if evaluation is not None:
        found = knowledge.evaluation(evaluation, entries, _wanted(tables["objective"]))
        problems += [file.problem(one.keys, one.what) for one in found]
    together = _together(head, budget, algorithm, evaluation, knowledge)
    problems += [file.problem(one.keys, one.what) for one in together]
    space = build_space(file, entries, tables["space"], problems)
    enqueue: tuple[Configuration, ...] = ()
    if space is not None and head is not None:
        enqueue, unfit = first_configurations(space, head.enqueue, include_default=head.include_default)
        problems += [file.problem(one.keys, one.what) for one in unfit]
    if budget is not None and len(enqueue) > (budget.evaluations or len(enqueue)):
        what = f"{len(enqueue)} configurations to try first, and a budget of {budget.evaluations} evaluations"
        problems.append(file.problem(("enqueue",), what))
    if problems:
        raise InputError(problems)
    assert space is not None, "there are no problems"
    return StudySpec(
        name=head.name,
        seed=head.seed,
        include_base=head.include_base,
        budget=budget,
        algorithm=algorithm,
        options=options,
        objective=objective,
        space=space,
        evaluation=evaluation,
        path=path,
        text=file.text,
        enqueue=enqueue,
        warm_start=tuple(Path(_at(directory, run)) for run in head.warm_start),
        promote=None if head.promote is None else Path(_at(directory, head.promote)),
        keep_adapters=KEPT_ADAPTERS if head.keep_adapters is None else head.keep_adapters,
    )


def _together(
    head: _Head | None,
    budget: Budget | None,
    algorithm: str,
    evaluation: AnyEvaluation | None,
    knowledge: Knowledge,
) -> list[Problem]:
    """Problems of sections that are right by themselves."""
    problems = []
    if head is not None and head.include_base and evaluation is not None and evaluation.kind == "synthetic":
        problems.append(Problem(("include_base",), "a synthetic function has no base model: leave it out"))
    if head is not None and evaluation is not None and evaluation.kind != "litgpt":
        what = f"a {evaluation.kind} evaluation leaves no adapters of ours"
        if head.keep_adapters is not None:
            problems.append(Problem(("keep_adapters",), f"{what} to remove: leave it out"))
        if head.promote is not None:
            problems.append(Problem(("promote",), f"{what} to go on from: leave it out"))
    if budget is not None and budget.evaluations is None and algorithm in ("lhs", "grid"):
        problems.append(
            Problem(("budget",), f"{algorithm} plans its whole design at once: give `evaluations`")
        )
    known = algorithm and not knowledge.algorithm(algorithm, {})
    if head is not None and head.warm_start and known and algorithm not in knowledge.learners:
        learners = ", ".join(knowledge.learners)
        what = f"{algorithm} cannot learn from other studies: leave it out, or search with one of {learners}"
        problems.append(Problem(("warm_start",), what))
    return problems


def _wanted(table: dict[str, Any]) -> Wanted:
    """The metrics an objective names, whatever else is wrong with it."""
    reported = table.get("report", [])
    named: list[tuple[Keys, Any]] = [(("objective", "metric"), table.get("metric"))]
    named += [
        (("objective", "report"), metric) for metric in (reported if isinstance(reported, list) else [])
    ]
    return [(keys, metric) for keys, metric in named if isinstance(metric, str)]


def _at(directory: Path, text: str) -> str:
    # `resolve` would follow links, and a venv's python is one; a user may be unknown here.
    return os.path.abspath(directory / os.path.expanduser(text))  # noqa: PTH100, PTH111


def _located(evaluation: AnyEvaluation, directory: Path) -> AnyEvaluation:
    """The evaluation with its relative paths made absolute: jobs run elsewhere."""

    def at(text: str) -> str:
        return _at(directory, text)

    if isinstance(evaluation, CommandEvaluation):
        # Of the words of a command those are paths that name a file beside the study.
        words = [at(word) if os.path.isfile(directory / word) else word for word in evaluation.command]  # noqa: PTH113 — no error for a long word
        return evaluation.model_copy(update={"command": tuple(words)})
    if isinstance(evaluation, LitGPTEvaluation):

        def data_at(source: str) -> str:
            return source if source == DEMO or source.startswith(MODULE) else at(source)

        files: dict[str, Any] = {}
        if evaluation.val_data is not None:
            files["val_data"] = data_at(evaluation.val_data)
        if isinstance(evaluation.data, str):
            files["data"] = data_at(evaluation.data)
        else:
            files["data"] = tuple(
                one.model_copy(update={"source": data_at(one.source)}) for one in evaluation.data
            )
        if evaluation.model != DEMO and (
            evaluation.model.startswith((".", "/", "~")) or (directory / evaluation.model).exists()
        ):
            files["model"] = at(evaluation.model)  # anything else is a Hugging Face id
        tasks = tuple(
            task.model_copy(update={"file": at(task.file)})
            if isinstance(task, LocalTask) and task.file != DEMO
            else task.model_copy(update={"yaml": at(task.yaml)})
            if isinstance(task, TaskFile)
            else task
            for task in evaluation.tasks
        )
        return evaluation.model_copy(update={**files, "tasks": tasks})
    return evaluation


def _algorithm(
    file: TomlFile, table: dict[str, Any], knowledge: Knowledge, problems: list[str]
) -> tuple[str, dict[str, Any]]:
    options = {key: value for key, value in table.items() if key != "name"}
    name = table.get("name")
    if not table:
        return "", options
    if not isinstance(name, str):
        problems.append(
            file.problem(("algorithm", "name"), "is missing: name one of `orchestrator algorithms`")
        )
        return "", options
    problems += [file.problem(("algorithm",), what) for what in knowledge.algorithm(name, options)]
    return name, options
