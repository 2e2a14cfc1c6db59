"""Conditional parameters: which of them are active, given the values of the choices they depend on.

A parameter with a `when` is active only if each choice that it names is active and has one of the values
listed. Every other parameter is always active.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.contract.assignment import Value
from orchestrator.errors import near
from orchestrator.space.parameter import Choice, Conditions, Parameter

Tagged = tuple[type, Value]  # with its type: True, 1 and 1.0 are equal in Python, but three options
Needs = dict[str, frozenset[Tagged]]  # choice -> the values of it that are allowed


def needs_of(parameters: Mapping[str, Parameter]) -> dict[str, Needs]:
    """What each conditional parameter needs of the choices it depends on, directly or through its parents.

    The conditions must not form a circle (see `condition_problems`). Where several of them restrict one
    choice, only the values that all of them allow are left. Parameters without a condition are left out.
    """
    found: dict[str, Needs] = {}

    def follow(name: str) -> Needs:
        if name not in found:
            needs: Needs = {}
            for parent, values in conditions(parameters[name]):
                for choice, allowed in [(parent, frozenset(map(tagged, values))), *follow(parent).items()]:
                    needs[choice] = needs.get(choice, allowed) & allowed
            found[name] = needs
        return found[name]

    return {name: needs for name in parameters if (needs := follow(name))}


def fits(needs: Needs, values: Mapping[str, Value]) -> bool:
    """True if `values` holds every choice in `needs`, each at an allowed value."""
    return all(choice in values and tagged(values[choice]) in allowed for choice, allowed in needs.items())


def tagged(value: Value) -> Tagged:
    """`value` with its type, so that True, 1 and 1.0 compare as different."""
    return type(value), value


def conditions(parameter: Parameter) -> Conditions:
    """The conditions of `parameter`: (choice, its allowed values) pairs, all of which must hold."""
    assert isinstance(parameter.when, tuple)  # `__post_init__` made it one
    return parameter.when


def condition_problems(
    parameters: Mapping[str, Parameter], fixed: Mapping[str, Value]
) -> list[tuple[str, str]]:
    """What is wrong with the conditions: the parameter and what, for each problem; empty if nothing is."""
    problems = []
    for name, parameter in parameters.items():
        for parent, values in conditions(parameter):
            if what := _wrong(parent, values, parameters, fixed):
                problems.append((name, what))
    if problems:
        return problems
    for name in parameters:
        if circle := _circle(name, parameters):
            return [(name, f"goes round in a circle: {' needs '.join(circle)}")]
    for name, needs in needs_of(parameters).items():
        problems += [
            (name, f"it is never there: no value of {choice} fits all its conditions")
            for choice, allowed in needs.items()
            if not allowed
        ]
    return problems


def _wrong(
    parent: str, values: tuple[Value, ...], parameters: Mapping[str, Parameter], fixed: Mapping[str, Value]
) -> str | None:
    """What is wrong with the condition that `parent` has one of `values`; None if nothing is."""
    if parent in fixed:
        held = tagged(fixed[parent]) in map(tagged, values)
        remedy = "it is always there: leave `when` out" if held else "it is never there: leave it out"
        return f"{parent} is fixed at {fixed[parent]!r}, so {remedy}"
    choice = parameters.get(parent)
    if choice is None:
        return f'no parameter "{parent}"{near(parent, parameters)}'
    if not isinstance(choice, Choice):
        return f"{parent} is no choice: a condition names values of one"
    if not values:
        return f"give a value of {parent}, or several"
    if wrong := [value for value in values if tagged(value) not in map(tagged, choice.options)]:
        return f"{parent} is never {wrong[0]!r}: its options are {list(choice.options)}"
    return None


def _circle(start: str, parameters: Mapping[str, Parameter]) -> list[str] | None:
    """A path of names from `start` through its parents back to `start`; None if there is none."""
    ways, seen = [[start]], {start}
    while ways:
        way = ways.pop()
        for parent, _ in conditions(parameters[way[-1]]):
            if parent == start:
                return [*way, start]
            if parent not in seen:
                seen.add(parent)
                ways.append([*way, parent])
    return None
