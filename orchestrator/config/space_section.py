"""The `[space]` section of a study file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.config.sections import ParameterSection
from orchestrator.config.tomlfile import TomlFile
from orchestrator.contract import AnyEvaluation
from orchestrator.contract.assignment import Value
from orchestrator.errors import InputError, near
from orchestrator.space import SearchSpace
from orchestrator.space.space import PRESETS, Choice, Float, Int, Parameter

Entries = dict[str, Parameter | Value]  # a search axis, or a fixed value
WRONG: Value = "(wrong)"  # stands for an entry with problems: nobody need be told to add it
_RESERVED = {"preset", "constraints"}  # keys that name no parameter


def read_entries(
    file: TomlFile,
    table: dict[str, Any],
    evaluation: AnyEvaluation | None,
    own_space: Callable[[AnyEvaluation], Entries | None],
    problems: list[str],
) -> Entries:
    """The entries of `[space]` over those of its preset, or else over those the evaluation brings along."""
    entries: Entries = {}
    preset = table.get("preset")
    if isinstance(preset, str) and preset in PRESETS:
        entries.update(PRESETS[preset])
    elif preset is not None:
        problems.append(
            file.problem(("space", "preset"), f"unknown preset {preset!r}{near(str(preset), PRESETS)}")
        )
    elif evaluation is not None and not table.keys() - _RESERVED:
        entries.update(own_space(evaluation) or {})
        if not entries:
            problems.append(file.problem((), "section [space] is missing"))
    for name, content in table.items():
        if name in _RESERVED:
            continue
        keys = ("space", name)
        if isinstance(content, list):
            what = 'is an array: options are `{ type = "choice", options = [...] }`, rules `constraints`'
            problems.append(file.problem(keys, what))
            entries[name] = WRONG
            continue
        table_of = content if isinstance(content, dict) else {"value": content}  # a plain value is fixed
        section = file.section(keys, table_of, ParameterSection, problems)
        entries[name] = WRONG if section is None else section.parameter() or section.value
    return entries


def build_space(
    file: TomlFile, entries: Entries, table: dict[str, Any], problems: list[str]
) -> SearchSpace | None:
    """The space of `entries`; None, and lines in `problems`, if there is none."""
    if any(entry is WRONG for entry in entries.values()):
        return None  # said already, and what hangs together with it cannot be judged
    parameters = {name: e for name, e in entries.items() if isinstance(e, Float | Int | Choice)}
    if not parameters:
        if not problems:
            problems.append(file.problem(("space",), "nothing to search over: give a parameter a range"))
        return None
    constraints = table.get("constraints", [])
    if not isinstance(constraints, list):
        what = f'must be an array, ["alpha <= 2 * rank"], got {constraints!r}'
        problems.append(file.problem(("space", "constraints"), what))
        return None
    fixed = {name: e for name, e in entries.items() if not isinstance(e, Float | Int | Choice)}
    try:
        return SearchSpace(parameters, fixed, constraints)
    except InputError as error:
        problems += [file.problem(one.keys, one.what) for one in error.found]
        return None
