"""A study that may spend more than it was launched with."""

from __future__ import annotations

import tomllib
from pathlib import Path

from orchestrator.algorithms.planned import waiting
from orchestrator.contract.objective import Budget
from orchestrator.errors import InputError
from orchestrator.record import History, MasterLock, RunDirectory, StudyRecord, look
from orchestrator.record.facts import Extended, Reopened

_WHOLE_DESIGNS = ("lhs", "grid")


def extend(run: RunDirectory, budget: Budget, *, take_over: bool = False) -> None:
    """Let a study spend `budget` in all from now on; one that has spent its own goes on when it is resumed.

    Args:
        run: the study's directory, which no master holds.
        budget: what is spent already included; a limit that it leaves out stays as it is.
        take_over: a person says that a master on another host is gone.

    Raises:
        InputError: that is less than what was asked for already, or the search plans all at once.
        Held: a master runs the study.
    """
    with MasterLock(run, take_over=take_over), StudyRecord.open(run) as record:
        history = record.history
        limits = {**history.budget.model_dump(), **budget.model_dump(exclude_none=True)}
        whole = Budget.model_validate(limits)
        if whole == history.budget:
            return
        if problems := _problems(history, whole):
            raise InputError([f"{run.path}: {problem}" for problem in problems])
        record.write(Extended(budget=whole))
        if history.ended is not None and history.ended.is_done:
            record.write(Reopened(trials=()))


def make_room(run: RunDirectory, evaluations: int) -> None:
    """Let a study whose evaluations are all asked for try what a person enqueued, and nothing else before it.

    Args:
        run: the study's directory, which no master holds.
        evaluations: those that were asked for, and one for each configuration that waits.

    Raises:
        InputError: only its GPU-hours are limited, or its search has planned others that come first.
        Held: a master runs the study.
    """
    with MasterLock(run), StudyRecord.open(run) as record:
        history = record.history
        if history.budget.evaluations is None:
            raise InputError(f"{run.path}: its GPU-hours are spent: `orchestrator resume --gpu-hours`")
        if history.state is not None and (first := waiting(history.state)):
            raise InputError(
                f"{run.path}: {history.created.algorithm} has planned {first} evaluations that come first: "
                f"`orchestrator resume {run.path} --evaluations {evaluations + first}`, then enqueue"
            )
        budget = history.budget.model_copy(update={"evaluations": evaluations})
        record.write(Extended(budget=budget))
        if history.ended is not None and history.ended.is_done:
            record.write(Reopened(trials=()))


def extend_as_edited(run: RunDirectory, *, take_over: bool = False) -> None:
    """Let a study spend what the file that it was launched from says, if that is more than its budget by now.

    Raises:
        InputError, Held: as `extend`.
    """
    history = look(run).history
    try:
        text = Path(history.created.path).read_text(encoding="utf-8")
        edited = Budget.model_validate(tomllib.loads(text)["budget"])
    except (OSError, ValueError, KeyError):  # gone, or no study any more: who reads the whole of it says so
        return
    grown = {
        name: limit
        for name, limit in edited.model_dump(exclude_none=True).items()
        if (now := getattr(history.budget, name)) is not None and limit > now
    }
    if grown:
        extend(run, Budget.model_validate(grown), take_over=take_over)


def without_budget(text: str) -> object:
    """Return what a study file means beside its budget; of one that is no TOML its text."""
    try:
        return {key: value for key, value in tomllib.loads(text).items() if key != "budget"}
    except tomllib.TOMLDecodeError:
        return text


def _problems(history: History, budget: Budget) -> list[str]:
    spent, before = len(history.spent), history.budget
    problems = []
    if budget.evaluations is not None and budget.evaluations < spent:
        problems.append(f"{budget.evaluations} evaluations are fewer than the {spent} that were asked for")
    grows = budget.evaluations is None or (before.evaluations or 0) < budget.evaluations
    if grows and history.created.algorithm in _WHOLE_DESIGNS:
        problems.append(
            f"{history.created.algorithm} plans its whole design at once, for the budget at launch: launch "
            "another study with `warm_start`, or `enqueue` configurations of your own"
        )
    return problems
