"""Checks that the parameters, fixed values and constraints of a space fit one another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from orchestrator.contract.assignment import Value
from orchestrator.errors import Problem
from orchestrator.space.condition import condition_problems
from orchestrator.space.constraint import Constraint
from orchestrator.space.parameter import Choice, Float, Int, Parameter


def problems(
    parameters: Mapping[str, object], fixed: Mapping[str, object], constraints: Sequence[object]
) -> list[Problem]:
    """What is wrong with the arguments of `SearchSpace`, at the keys of a study file."""
    if not parameters:
        return [Problem(("space",), "no parameter to search over: give at least one a range or options")]
    right = {name: p for name, p in parameters.items() if isinstance(p, Float | Int | Choice)}
    values = {name: value for name, value in fixed.items() if isinstance(value, bool | int | float | str)}
    found = [
        Problem(("space", name), f"{parameter!r} is no Float, Int or Choice; a value goes into `fixed`")
        for name, parameter in parameters.items()
        if name not in right
    ]
    found += [
        Problem(("space", name), f"{value!r} is no value: give a bool, a number or a string")
        for name, value in fixed.items()
        if name not in values or (isinstance(value, float) and not math.isfinite(value))
    ]
    both = [name for name in parameters if name in fixed]
    found += [Problem(("space", name), "is both a parameter and fixed") for name in both]
    if not found:
        found += [
            Problem(("space", name), f"when: {what}") for name, what in condition_problems(right, values)
        ]
    numbers = [name for name, parameter in right.items() if _numeric(parameter)]
    numbers += [name for name, value in values.items() if _is_number(value)]
    for index, text in enumerate(constraints):
        try:
            if not isinstance(text, str):
                raise ValueError(f"{text!r} is no string")  # noqa: TRY004, TRY301 — one error for all
            unknown = Constraint(text).unknown(numbers, [*parameters, *fixed])
        except ValueError as error:
            unknown = str(error)
        found += [Problem(("space", "constraints", index), unknown)] if unknown else []
    return found


def _numeric(parameter: Parameter) -> bool:
    """True if every value of the parameter is a number."""
    return not isinstance(parameter, Choice) or all(_is_number(option) for option in parameter.options)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
