"""How a study file wants its search to begin: with its defaults, with configurations a person gives."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.contract.assignment import Configuration
from orchestrator.errors import Keys, Problem
from orchestrator.space import SearchSpace


def first_configurations(
    space: SearchSpace, given: Sequence[Configuration], *, include_default: bool
) -> tuple[tuple[Configuration, ...], list[Problem]]:
    """Return the configurations to try first, whole, the defaults before all, and what is wrong with them.

    Args:
        space: what is searched.
        given: what a person enqueued; a parameter that one leaves out has its default.
        include_default: whether the configuration of defaults is wanted too. It is not repeated.
    """
    wanted: list[tuple[Keys, Configuration]] = [(("include_default",), {})] if include_default else []
    wanted += [(("enqueue", number), configuration) for number, configuration in enumerate(given)]
    found: dict[tuple[float, ...], tuple[Keys, Configuration]] = {}
    problems: list[Problem] = []
    for keys, part in wanted:
        whole = space.completed(part)
        if missing := space.missing(whole):
            here = "give one in [space]" if keys == ("include_default",) else "give a value here"
            problems.append(Problem(keys, f"no `default` of {', '.join(missing)}: {here}"))
            continue
        if wrong := space.problems(whole):
            problems += [Problem(keys, what) for what in wrong]
            continue
        first, _ = found.setdefault(space.encode(whole), (keys, whole))
        if first[0] == "enqueue" and first != keys:
            problems.append(Problem(keys, f"is the configuration of entry {first[1]} again"))
    return tuple(whole for _, whole in found.values()), problems
