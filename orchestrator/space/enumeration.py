"""The configurations of a finite space: how many, and which; constraints aside."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.contract.assignment import Configuration
from orchestrator.space.condition import Needs, fits
from orchestrator.space.parameter import Choice, Float, Parameter


def count(parameters: Mapping[str, Parameter], needs: Mapping[str, Needs]) -> int | None:
    """How many configurations there are; None if a continuum. Only choices that others need are gone through.

    Args:
        parameters: each there in some configuration.
        needs: of those that are not always there.
    """
    if any(isinstance(parameter, Float) for parameter in parameters.values()):
        return None
    choices = {choice for of_one in needs.values() for choice in of_one}
    # A choice needs all that the choices above it need, and them: fewest needs first is from above.
    parents = sorted(choices, key=lambda name: len(needs.get(name, ())))

    def ways(chosen: Configuration, left: Sequence[str]) -> int:
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
    """Every configuration of a finite space once, in the order of the axes."""
    axes = [() if isinstance(parameter, Float) else parameter.values for parameter in parameters.values()]
    for positions in itertools.product(*(range(len(axis)) for axis in axes)):
        every = {name: axis[i] for name, axis, i in zip(parameters, axes, positions, strict=True)}
        there = {name: value for name, value in every.items() if fits(needs.get(name, {}), every)}
        # What is not there has all its values in the product: only the first of them may count.
        if all(i == 0 or name in there for name, i in zip(parameters, positions, strict=True)):
            yield there
