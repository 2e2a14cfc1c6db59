"""Counting and listing the configurations of a finite space, without regard to constraints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.contract.assignment import Configuration
from orchestrator.space.condition import Needs, fits
from orchestrator.space.parameter import Choice, Float, Parameter


def count(parameters: Mapping[str, Parameter], needs: Mapping[str, Needs]) -> int | None:
    """The number of configurations; None if a parameter is a real number.

    Only the values of choices that other parameters depend on are enumerated; the numbers of values of all
    other parameters are multiplied.

    Args:
        parameters: by name; each must be active in at least one configuration.
        needs: of the conditional parameters, from `condition.needs_of`.
    """
    if any(isinstance(parameter, Float) for parameter in parameters.values()):
        return None
    choices = {choice for of_one in needs.values() for choice in of_one}
    # The needs of a choice include its parents and all that they need: sorted by the number of needs, every
    # choice comes after its parents.
    parents = sorted(choices, key=lambda name: len(needs.get(name, ())))

    def ways(chosen: Configuration, left: Sequence[str]) -> int:
        """The number of configurations with the values `chosen`; the choices `left` have none yet."""
        if not left:
            there = [n for n in parameters if n not in choices and fits(needs.get(n, {}), chosen)]
            return math.prod(parameters[name].cardinality or 1 for name in there)
        if not fits(needs.get(left[0], {}), chosen):
            return ways(chosen, left[1:])
        parent = parameters[left[0]]
        assert isinstance(parent, Choice)
        return sum(ways({**chosen, left[0]: option}, left[1:]) for option in parent.options)

    return ways({}, parents)


def configurations(
    parameters: Mapping[str, Parameter], needs: Mapping[str, Needs]
) -> Iterator[Configuration]:
    """Yield every configuration of a finite space once; the values of the last parameter change fastest."""
    axes = [() if isinstance(parameter, Float) else parameter.values for parameter in parameters.values()]
    for positions in itertools.product(*(range(len(axis)) for axis in axes)):
        every = {name: axis[i] for name, axis, i in zip(parameters, axes, positions, strict=True)}
        there = {name: value for name, value in every.items() if fits(needs.get(name, {}), every)}
        # In the product an inactive parameter takes all its values: only the first of them counts, so that
        # every configuration comes once.
        if all(i == 0 or name in there for name, i in zip(parameters, positions, strict=True)):
            yield there
