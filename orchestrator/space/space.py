"""The search space: named parameters in natural units, and their image in the unit cube.

    space = SearchSpace(
        {
            "rank": Int(4, 64, log=True),
            "alpha": Int(4, 128),
            "optimizer": Choice(("adam", "sgd")),
            "momentum": Float(0.0, 0.99, when={"optimizer": "sgd"}),  # not there with adam
        },
        fixed={"epochs": 3},
        constraints=["alpha <= 2 * rank"],
    )
    space.decode((0.5, 0.2, 0.1, 0.7))  # {"epochs": 3, "rank": 15, "alpha": 29, "optimizer": "adam"}

All points of one configuration are represented by one of them, `snap(point)`: a parameter that is not there
has its axis at ½.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.contract.assignment import Configuration, Value
from orchestrator.errors import InputError
from orchestrator.space import validity
from orchestrator.space.condition import Needs, fits, needs_of
from orchestrator.space.constraint import Constraint
from orchestrator.space.enumeration import configurations, count
from orchestrator.space.parameter import Choice, Float, Int, Parameter, Point
from orchestrator.space.presets import PRESETS

if TYPE_CHECKING:
    import numpy as np  # at run time only where points are drawn

__all__ = ["PRESETS", "Choice", "Float", "Int", "Parameter", "SearchSpace"]

COUNTED = 100_000  # a constrained space of no more configurations, conditions aside, is enumerated
DRAWN = 1 << 14  # points that decide whether a larger one has a feasible point
_ROUNDING = (1e-15, 1e-14, 1e-13)  # of a unit: what decoding an encoded number may be off by
MISSES = 1 << 20  # infeasible points in a row after which `sample` gives up


@dataclass(frozen=True)
class SearchSpace:
    """Named parameters, each an axis of the unit cube in the order given, and values that stay fixed.

    Attributes:
        constraints: comparisons of numeric parameters and fixed numbers, "alpha <= 2 * rank"; one does not
            apply where a parameter in it is not there.
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
        """Raises: InputError: every problem of names, conditions and constraints; or no point is feasible."""
        object.__setattr__(self, "parameters", dict(parameters))
        object.__setattr__(self, "fixed", dict(fixed or {}))
        texts = (constraints,) if isinstance(constraints, str) else tuple(constraints)
        object.__setattr__(self, "constraints", texts)
        if problems := validity.problems(self.parameters, self.fixed, self.constraints):
            raise InputError(problems)
        if unsatisfied := self._unsatisfied():
            raise InputError(f"space.constraints: {unsatisfied}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.parameters)

    @property
    def choices(self) -> dict[int, int]:
        """Axis -> number of options, of the axes that are choices."""
        return {
            axis: len(parameter.options)
            for axis, parameter in enumerate(self.parameters.values())
            if isinstance(parameter, Choice)
        }

    @property
    def dimension(self) -> int:
        return len(self.parameters)

    @cached_property
    def cardinality(self) -> int | None:
        """How many configurations there are, None if a continuum; infeasible ones count beyond `COUNTED`."""
        if self.constraints and self._listed:
            return sum(self._obeys(configuration) for configuration in self._configurations())
        return count(self.parameters, self._needs)

    @property
    def default(self) -> Configuration | None:
        """The configuration of defaults, if every parameter that is there has one."""
        whole = self.completed({})
        return None if self.missing(whole) else whole

    def completed(self, configuration: Mapping[str, Value]) -> Configuration:
        """`configuration` and what it leaves out: fixed values, and defaults of parameters that are there."""
        defaults = {n: p.default for n, p in self.parameters.items() if p.default is not None}
        values = {**self.fixed, **defaults, **configuration}
        return {n: v for n, v in values.items() if n in configuration or self._is_there(n, values)}

    def missing(self, configuration: Mapping[str, Value]) -> list[str]:
        """The parameters that `configuration` lacks: those that are there with its choices."""
        return [n for n in self.names if n not in configuration and self._is_there(n, configuration)]

    def decode(self, point: Point) -> Configuration:
        """Configuration at `point`: (d,) in the unit cube; without the parameters that are not there."""
        units = zip(self.parameters.items(), point, strict=True)
        values: Configuration = {name: parameter.decode(unit) for (name, parameter), unit in units}
        if self._needs:
            values = {name: value for name, value in values.items() if self._is_there(name, values)}
        return {**self.fixed, **values}

    def encode(self, configuration: Mapping[str, Value]) -> Point:
        """The point in the middle of the units that decode to `configuration`: (d,).

        A real number comes back from it up to rounding; where that would break a constraint, the point is
        moved by as little.

        Raises:
            ValueError: it lacks a parameter, names one that is not there with the others, or holds a value
                that the space does not. Constraints are not asked: see `problems`.
        """
        if problems := self._misfits(configuration):
            raise ValueError("; ".join(problems))
        point = self._middle(configuration)
        return next(filter(self.feasible, (point, *self._beside(point))), point)

    def problems(self, configuration: Mapping[str, Value]) -> list[str]:
        """Why `configuration` is none of the space's, a line each; empty if it is one."""
        return self._misfits(configuration) or [
            f"{_shown(configuration, constraint.names)} breaks `{constraint.text}`"
            for constraint in self._parsed
            if not constraint.holds(configuration)
        ]

    def snap(self, point: Point) -> Point:
        """The one point that stands for all that decode as `point` does: what a model should see."""
        return self._middle(self.decode(point))

    def feasible(self, point: Point) -> bool:
        """True if the configuration at `point` breaks no constraint."""
        return not self.constraints or self._obeys(self.decode(point))

    def sample(self, generator: np.random.Generator, n: int) -> list[Point]:
        """Draw `n` points, uniform over the feasible part of the cube.

        Points are drawn one after another: two calls for one give what one call for two does.

        Raises:
            InputError: `MISSES` draws in a row broke a constraint, and there are too many configurations to
                list. Of those that can be listed one is chosen instead, each as likely.
        """
        return [self._draw(generator) for _ in range(n)]

    def divisible(self, axis: int, low: Sequence[float], high: Sequence[float], center: Point) -> bool:
        """True if dividing the cell [low, high) on `axis` leads to a configuration that its center is not.

        A value belongs to the one cell that has the middle of its units. A cell that only touches it, across
        a boundary, would be divided for ever and hold nothing that its neighbors lack. An axis whose
        parameter is not there at the center waits until the choices above it are divided.
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
        return tuple(
            parameter.encode(configuration[name]) if name in configuration else 0.5
            for name, parameter in self.parameters.items()
        )

    def _beside(self, point: Point) -> Iterator[Point]:
        """The points a rounding away on one axis of real numbers, the nearest first."""
        floats = [n for n, parameter in enumerate(self.parameters.values()) if isinstance(parameter, Float)]
        for step, axis, side in itertools.product(_ROUNDING, floats, (-1, 1)):
            unit = min(max(point[axis] + side * step, 0.0), 1.0)
            yield (*point[:axis], unit, *point[axis + 1 :])

    def _misfits(self, configuration: Mapping[str, Value]) -> list[str]:
        problems = []
        for name, value in configuration.items():
            if name in self.fixed:
                if value != self.fixed[name] or isinstance(value, bool) != isinstance(self.fixed[name], bool):
                    problems.append(f"{name} is fixed at {self.fixed[name]!r}, got {value!r}")
            elif name not in self.parameters:
                problems.append(f"{name} is no parameter of the space")
            elif not self._is_there(name, configuration):
                if reason := _shown(configuration, self._needs[name]):  # else what it needs is missing itself
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
        """Every configuration of a finite space once, those that break a constraint too."""
        for values in configurations(self.parameters, self._needs):
            yield {**self.fixed, **values}

    def _draw(self, generator: np.random.Generator) -> Point:
        listed = self._listed
        for _ in range(DRAWN if listed else MISSES):
            point: Point = tuple(generator.random(self.dimension).tolist())
            if self.feasible(point):
                return point
        if not listed:
            raise InputError(f"space.constraints: {MISSES:,} points in a row broke them: narrow the ranges")
        feasible = [configuration for configuration in self._configurations() if self._obeys(configuration)]
        return self._middle(feasible[int(generator.integers(len(feasible)))])

    def _unsatisfied(self) -> str | None:
        """Which constraints no configuration satisfies, of all or of `DRAWN` drawn; None if one does all."""
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
    return ", ".join(f"{name} = {configuration[name]!r}" for name in sorted(names) if name in configuration)
