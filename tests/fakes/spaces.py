"""Small finite spaces with conditions and constraints, and their configurations by brute force."""

from __future__ import annotations

import itertools

from hypothesis import assume
from hypothesis import strategies as st

from orchestrator.contract.assignment import Configuration, Value
from orchestrator.errors import InputError
from orchestrator.space import SearchSpace
from orchestrator.space.parameter import Parameter
from orchestrator.space.space import Choice, Int

Frozen = frozenset[tuple[str, str]]  # a configuration that can be in a set; True, 1 and 1.0 differ


def frozen(configuration: Configuration) -> Frozen:
    return frozenset((name, repr(value)) for name, value in configuration.items())


def values_of(parameter: Parameter) -> list[Value]:
    assert isinstance(parameter, Int | Choice)
    return list(range(parameter.low, parameter.high + 1) if isinstance(parameter, Int) else parameter.options)


def everything(space: SearchSpace) -> list[Configuration]:
    """Every feasible configuration, from what the words of a space mean."""

    def there(name: str, values: Configuration) -> bool:
        return all(
            there(parent, values) and repr(values[parent]) in map(repr, allowed)
            for parent, allowed in dict(space.parameters[name].when).items()
            if isinstance(allowed, tuple)
        )

    found = {}
    for values in itertools.product(*map(values_of, space.parameters.values())):
        every = dict(zip(space.names, values, strict=True))
        configuration = {**space.fixed, **{n: v for n, v in every.items() if there(n, every)}}
        if all(obeys(text, configuration) for text in space.constraints):
            found[frozen(configuration)] = configuration
    return list(found.values())


def obeys(text: str, configuration: Configuration) -> bool:
    try:
        return bool(eval(text, {}, dict(configuration)))
    except NameError:  # it does not apply
        return True
    except ZeroDivisionError:
        return False


@st.composite
def parameters(draw: st.DrawFn) -> dict[str, Parameter]:
    names = draw(st.permutations("abcd"))[: draw(st.integers(1, 4))]
    made: dict[str, Parameter] = {}
    for name in names:
        choices = {n: p for n, p in made.items() if isinstance(p, Choice)}
        when = {}
        for parent in (
            draw(st.lists(st.sampled_from(sorted(choices)), max_size=2, unique=True)) if choices else []
        ):
            options = choices[parent].options
            when[parent] = draw(st.lists(st.sampled_from(options), min_size=1, max_size=2, unique_by=repr))
        if draw(st.booleans()):
            low, log = draw(st.integers(1, 3)), draw(st.booleans())
            made[name] = Int(low, low + draw(st.integers(1, 8)), log=log, when=when)
        else:
            options = draw(st.sampled_from([("x", "y"), ("x", "y", "z"), (True, 1, "1"), (1, 2, 4, 8)]))
            made[name] = Choice(options, when=when)
    return {name: made[name] for name in sorted(made)}


@st.composite
def finite_spaces(draw: st.DrawFn) -> SearchSpace:
    """Up to four axes, chains of conditions, up to two constraints; something is feasible."""
    axes = draw(parameters())
    numbers = sorted(
        n for n, p in axes.items() if isinstance(p, Int) or (isinstance(p, Choice) and 8 in p.options)
    )
    constraints = []
    for _ in range(draw(st.integers(0, 2)) if numbers else 0):
        one, other = draw(st.sampled_from(numbers)), draw(st.sampled_from(numbers))
        bound = draw(st.integers(1, 8))
        templates = [
            f"{one} <= {bound}",
            f"{one} >= 0.5 * {other} + 1",
            f"1 < {one} / ({other} - 2) <= {bound}",
        ]
        constraints.append(draw(st.sampled_from(templates)))
    try:
        return SearchSpace(axes, {"fixed": 3}, constraints)
    except InputError as error:
        assume("none of" not in str(error) and "never there" not in str(error))
        raise
