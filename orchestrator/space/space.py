"""The search space: named parameters in natural units, and their image in the unit cube.

    space = SearchSpace(
        {
            "rank": Int(4, 64, log=True),
            "alpha": Int(4, 128),
            "optimizer": Choice(("adam", "sgd")),
            "momentum": Float(0.0, 0.99, when={"optimizer": "sgd"}),  # inactive with adam
        },
        fixed={"epochs": 3},
        constraints=["alpha <= 2 * rank"],
    )
    space.decode((0.5, 0.2, 0.1, 0.7))  # {"epochs": 3, "rank": 15, "alpha": 29, "optimizer": "adam"}

A parameter whose `when` does not hold is inactive: the configuration does not contain it ("is not there" in
messages). All points that decode to one configuration are represented by one of them, `snap(point)`, whose
coordinates of inactive parameters are ½.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.contract.assignment import Configuration, Value
from orchestrator.errors import InputError, Problem
from orchestrator.space import validity
from orchestrator.space.condition import Needs, fits, needs_of
from orchestrator.space.constraint import Constraint
from orchestrator.space.enumeration import configurations, count
from orchestrator.space.parameter import Choice, Float, Int, Parameter, Point
from orchestrator.space.presets import PRESETS

if TYPE_CHECKING:
    import numpy as np  # at run time only where points are drawn

__all__ = ["PRESETS", "Choice", "Float", "Int", "Parameter", "SearchSpace"]

COUNTED = 100_000  # a constrained space of at most so many configurations is enumerated
DRAWN = 1 << 14  # random points tried to find out whether a larger space has a feasible one
_ROUNDING = (1e-15, 1e-14, 1e-13)  # in [0, 1]: how much a number may move when it is encoded and decoded
MISSES = 1 << 20  # infeasible points in a row after which `sample` gives up


@dataclass(frozen=True)
class SearchSpace:
    """Named parameters, each an axis of the unit cube in the order given, and values that stay fixed.

    Attributes:
        parameters: by name, in the order of the axes.
        fixed: values that every configuration has in addition.
        constraints: comparisons of numeric parameters and fixed numbers, "alpha <= 2 * rank"; one does not
            apply to a configuration in which a parameter in it is inactive.
    """

    parameters: dict[str, Parameter]
    fixed: Configuration
    constraints: tuple[str, ...]

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        fixed: Mapping[str, Value] | None = None,
        constraints: Sequence[str] = (),
    ) -> None:
        """Check that the parts fit one another.

        Raises:
            InputError: every problem of names, conditions and constraints; or no feasible point was found.
        """
        object.__setattr__(self, "parameters", dict(parameters))
        object.__setattr__(self, "fixed", dict(fixed or {}))
        texts = (constraints,) if isinstance(constraints, str) else tuple(constraints)
        object.__setattr__(self, "constraints", texts)
        if problems := validity.problems(self.parameters, self.fixed, self.constraints):
            raise InputError(problems)
        if unsatisfied := self._unsatisfied():
            raise InputError(Problem(("space", "constraints"), unsatisfied))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters, in the order of the axes."""
        return tuple(self.parameters)

    @property
    def choices(self) -> dict[int, int]:
        """The number of options of each axis that is a choice, by the index of the axis."""
        return {
            axis: len(parameter.options)
            for axis, parameter in enumerate(self.parameters.values())
            if isinstance(parameter, Choice)
        }

    @property
    def dimension(self) -> int:
        """The number of parameters, d."""
        return len(self.parameters)

    @cached_property
    def cardinality(self) -> int | None:
        """The number of feasible configurations; None if a parameter is a real number.

        In a space of more than `COUNTED` configurations infeasible ones are counted too.
        """
        if self.constraints and self._listed:
            return sum(self._obeys(configuration) for configuration in self._configurations())
        return count(self.parameters, self._needs)

    @property
    def default(self) -> Configuration | None:
        """The configuration of default values; None if an active parameter has no default."""
        whole = self.completed({})
        return None if self.missing(whole) else whole

    def completed(self, configuration: Mapping[str, Value]) -> Configuration:
        """`configuration`, completed by the fixed values and the defaults of active parameters."""
        defaults = {n: p.default for n, p in self.parameters.items() if p.default is not None}
        values = {**self.fixed, **defaults, **configuration}
        return {n: v for n, v in values.items() if n in configuration or self._is_there(n, values)}

    def missing(self, configuration: Mapping[str, Value]) -> list[str]:
        """The names of parameters that `configuration` lacks although its choices make them active."""
        return [n for n in self.names if n not in configuration and self._is_there(n, configuration)]

    def decode(self, point: Point) -> Configuration:
        """The configuration at `point`, (d,) in the unit cube, without the inactive parameters."""
        units = zip(self.parameters.items(), point, strict=True)
        values: Configuration = {name: parameter.decode(unit) for (name, parameter), unit in units}
        if self._needs:
            values = {name: value for name, value in values.items() if self._is_there(name, values)}
        return {**self.fixed, **values}

    def encode(self, configuration: Mapping[str, Value]) -> Point:
        """The point (d,) in the middle of all that decode to `configuration`.

        Real numbers are decoded from it up to rounding. Where the rounding would break a constraint, the
        point is moved by about as much.

        Raises:
            ValueError: `configuration` lacks an active parameter, names an inactive one, or has a value
                outside the space. Constraints are not checked: see `problems`.
        """
        if problems := self._misfits(configuration):
            raise ValueError("; ".join(problems))
        point = self._middle(configuration)
        return next(filter(self.feasible, (point, *self._beside(point))), point)

    def problems(self, configuration: Mapping[str, Value]) -> list[str]:
        """Why `configuration` is not in the space, one line for each reason; empty if it is."""
        return self._misfits(configuration) or [
            f"{_shown(configuration, constraint.names)} breaks `{constraint.text}`"
            for constraint in self._parsed
            if not constraint.holds(configuration)
        ]

    def snap(self, point: Point) -> Point:
        """The representative (d,) of all points that decode as `point` does, which a model should see."""
        return self._middle(self.decode(point))

    def feasible(self, point: Point) -> bool:
        """True if the configuration at `point` breaks no constraint."""
        return not self.constraints or self._obeys(self.decode(point))

    def sample(self, generator: np.random.Generator, n: int) -> list[Point]:
        """Draw `n` points, each (d,), uniformly from the feasible part of the cube.

        Points are drawn one after another: two calls for one point give what one call for two gives. In a
        space of at most `COUNTED` configurations, once `DRAWN` draws in a row were infeasible, one of the
        feasible configurations is drawn instead, all with the same probability.

        Raises:
            InputError: in a larger space, `MISSES` draws in a row were infeasible.
        """
        return [self._draw(generator) for _ in range(n)]

    def divisible(self, axis: int, low: Sequence[float], high: Sequence[float], center: Point) -> bool:
        """True if dividing the cell [low, high) along `axis` leads to a value that its center does not have.

        A value belongs to the one cell that contains `encode(value)`, the middle of its interval. A cell that
        merely overlaps an end of this interval does not count the value as its own: it would be divided for
        ever without giving anything that its neighbors lack. An axis whose parameter is inactive at the
        center is not divided before the choices that the parameter depends on.

        Args:
            axis: index of the axis.
            low: (d,) lower corner of the cell.
            high: (d,) upper corner of the cell, excluded.
            center: (d,) center of the cell.
        """
        name, parameter = self.names[axis], self.parameters[self.names[axis]]
        if name in self._needs and not self._is_there(name, self.decode(center)):
            return False
        if isinstance(parameter, Float):
            return True
        start, end = low[axis], high[axis]
        first, last = parameter.decode(start), parameter.decode(math.nextafter(end, start))
        held = parameter.position(last) - parameter.position(first) + 1
        held -= (parameter.encode(first) < start) + (parameter.encode(last) >= end)
        if held == 1:
            return not start <= parameter.encode(parameter.decode(center[axis])) < end
        return held > 1

    @cached_property
    def _needs(self) -> dict[str, Needs]:
        return needs_of(self.parameters)

    @cached_property
    def _parsed(self) -> tuple[Constraint, ...]:
        return tuple(Constraint(text) for text in self.constraints)

    def _is_there(self, name: str, values: Mapping[str, Value]) -> bool:
        return name not in self._needs or fits(self._needs[name], values)

    def _obeys(self, configuration: Configuration) -> bool:
        return all(constraint.holds(configuration) for constraint in self._parsed)

    def _middle(self, configuration: Mapping[str, Value]) -> Point:
        """The point (d,) in the middle of each value's interval; ½ for parameters that are not given."""
        return tuple(
            parameter.encode(configuration[name]) if name in configuration else 0.5
            for name, parameter in self.parameters.items()
        )

    def _beside(self, point: Point) -> Iterator[Point]:
        """Yield points that differ from `point` by rounding on one axis of real numbers, nearest first."""
        floats = [n for n, parameter in enumerate(self.parameters.values()) if isinstance(parameter, Float)]
        for step, axis, side in itertools.product(_ROUNDING, floats, (-1, 1)):
            unit = min(max(point[axis] + side * step, 0.0), 1.0)
            yield (*point[:axis], unit, *point[axis + 1 :])

    def _misfits(self, configuration: Mapping[str, Value]) -> list[str]:
        """Why `configuration` is not in the space, constraints aside; one line for each reason."""
        problems = []
        for name, value in configuration.items():
            if name in self.fixed:
                if value != self.fixed[name] or isinstance(value, bool) != isinstance(self.fixed[name], bool):
                    problems.append(f"{name} is fixed at {self.fixed[name]!r}, got {value!r}")
            elif name not in self.parameters:
                problems.append(f"{name} is no parameter of the space")
            elif not self._is_there(name, configuration):
                if reason := _shown(configuration, self._needs[name]):  # else that choice is missing itself
                    problems.append(f"{name} is not there with {reason}")
            else:
                try:
                    self.parameters[name].encode(value)
                except ValueError as error:
                    problems.append(f"{name}: {error}")
        return problems + [f"{name} is missing" for name in self.missing(configuration)]

    @cached_property
    def _listed(self) -> bool:
        """True if the configurations are few enough to be listed."""
        sizes = [parameter.cardinality for parameter in self.parameters.values()]
        known = [size for size in sizes if size is not None]
        return len(known) == len(sizes) and math.prod(known) <= COUNTED

    def _configurations(self) -> Iterator[Configuration]:
        """Yield every configuration of a finite space once, those that break a constraint included."""
        for values in configurations(self.parameters, self._needs):
            yield {**self.fixed, **values}

    def _draw(self, generator: np.random.Generator) -> Point:
        """One feasible point (d,), as `sample` describes."""
        listed = self._listed
        for _ in range(DRAWN if listed else MISSES):
            point: Point = tuple(generator.random(self.dimension).tolist())
            if self.feasible(point):
                return point
        if not listed:
            what = f"{MISSES:,} points in a row broke them: narrow the ranges"
            raise InputError(Problem(("space", "constraints"), what))
        feasible = [configuration for configuration in self._configurations() if self._obeys(configuration)]
        return self._middle(feasible[int(generator.integers(len(feasible)))])

    def _unsatisfied(self) -> str | None:
        """A line that names the constraints which no configuration satisfies; None if one satisfies all.

        All configurations are tried if there are at most `COUNTED`, else `DRAWN` random ones.
        """
        if not self.constraints:
            return None
        from numpy.random import default_rng  # noqa: PLC0415 — most spaces have no constraint

        generator, listed = default_rng(0), self._listed
        drawn = (
            self.decode(generator.random(self.dimension).tolist()) for _ in range(256 if listed else DRAWN)
        )
        failing, tried = set(self._parsed), DRAWN
        for configuration in itertools.chain(drawn, self._configurations() if listed else ()):
            broken = {constraint for constraint in self._parsed if not constraint.holds(configuration)}
            if not broken:
                return None
            failing &= broken
        if listed:
            tried = sum(1 for _ in self._configurations())
        texts = [
            f"`{constraint.text}`" for constraint in self._parsed if constraint in failing or not failing
        ]
        what = f"none of {tried:,} configurations satisfies {'' if failing else 'all of '}{', '.join(texts)}"
        return what if listed else f"{what}: if some do, narrow the ranges to where they are"


def _shown(configuration: Mapping[str, Value], names: Iterable[str]) -> str:
    """The values of `names` in `configuration`, as "a = 1, b = 2"; names that it lacks are left out."""
    return ", ".join(f"{name} = {configuration[name]!r}" for name in sorted(names) if name in configuration)
