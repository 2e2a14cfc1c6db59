"""The search space: named parameters in natural units, and their image in the unit cube.

Log scales, rounding and choices live here and nowhere else. Decoding is many-to-one: an integer owns the
whole interval that rounds to it, and a choice an equal share of its axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from orchestrator.errors import InputError
from orchestrator.trial import Configuration, Point, Value


@dataclass(frozen=True, slots=True)
class Float:
    """A real number in [low, high]."""

    low: float
    high: float
    log: bool = False
    default: float | None = None

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log, self.default, least=0.0)

    @property
    def cardinality(self) -> int | None:
        """How many values there are; None: a continuum."""
        return None

    def decode(self, unit: float) -> float:
        """Value at `unit` in [0, 1]."""
        value = _unscale(unit, self.low, self.high, self.log)
        return min(max(value, self.low), self.high)

    def encode(self, value: Value) -> float:
        """The middle of the units that decode to `value`; of every axis.

        Raises:
            ValueError: it is not one of the axis's values.
        """
        if isinstance(value, bool | str) or not self.low <= value <= self.high:
            raise ValueError(f"{value!r} is not a number in [{self.low:g}, {self.high:g}]")
        return _scale(value, self.low, self.high, self.log)


@dataclass(frozen=True, slots=True)
class Int:
    """An integer in low..high, rounded half up over [low − ½, high + ½]: every value has its share."""

    low: int
    high: int
    log: bool = False
    default: int | None = None

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log, self.default, least=0.5)

    @property
    def cardinality(self) -> int | None:
        return self.high - self.low + 1

    def decode(self, unit: float) -> int:
        value = _unscale(unit, self.low - 0.5, self.high + 0.5, self.log)
        return min(max(math.floor(value + 0.5), self.low), self.high)

    def position(self, value: Value) -> int:
        """How many values come before it."""
        return int(value) - self.low

    def encode(self, value: Value) -> float:
        if isinstance(value, bool | str) or not self.low <= value <= self.high or value != int(value):
            raise ValueError(f"{value!r} is not a whole number in {self.low}..{self.high}")
        ends = (_scale(value + side, self.low - 0.5, self.high + 0.5, self.log) for side in (-0.5, 0.5))
        return sum(ends) / 2


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values without an order."""

    options: tuple[Value, ...]
    default: Value | None = None

    def __post_init__(self) -> None:
        if len(self.options) < 2:
            raise ValueError(f"needs at least two options, got {list(self.options)}: give one as `value = …`")
        if len({(type(option), option) for option in self.options}) < len(self.options):
            raise ValueError(f"has an option twice: {list(self.options)}")
        if self.default is not None:
            self.encode(self.default)

    @property
    def cardinality(self) -> int | None:
        return len(self.options)

    def decode(self, unit: float) -> Value:
        return self.options[min(int(unit * len(self.options)), len(self.options) - 1)]

    def position(self, value: Value) -> int:
        """How many values come before it."""
        return int(self.encode(value) * len(self.options))

    def encode(self, value: Value) -> float:
        for index, option in enumerate(self.options):
            if option == value and type(option) is type(value):
                return (index + 0.5) / len(self.options)
        raise ValueError(f"{value!r} is not one of {list(self.options)}")


@dataclass(frozen=True)
class SearchSpace:
    """Named parameters, each an axis of the unit cube in the order given, and values that stay fixed."""

    parameters: dict[str, Float | Int | Choice]
    fixed: Configuration

    def __init__(
        self, parameters: dict[str, Float | Int | Choice], fixed: Configuration | None = None
    ) -> None:
        if not parameters:
            raise InputError("space: no parameter to search over: give at least one a range or options")
        object.__setattr__(self, "parameters", dict(parameters))
        object.__setattr__(self, "fixed", dict(fixed or {}))

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.parameters)

    @property
    def dimension(self) -> int:
        return len(self.parameters)

    @property
    def cardinality(self) -> int | None:
        """How many configurations there are; None if a continuum."""
        product = 1
        for parameter in self.parameters.values():
            if parameter.cardinality is None:
                return None
            product *= parameter.cardinality
        return product

    @property
    def default(self) -> Configuration | None:
        """The configuration of defaults, if every parameter has one."""
        values = {name: parameter.default for name, parameter in self.parameters.items()}
        if any(value is None for value in values.values()):
            return None
        return {**self.fixed, **{name: value for name, value in values.items() if value is not None}}

    def decode(self, point: Point) -> Configuration:
        """Configuration at `point`: (d,) in the unit cube."""
        units = zip(self.parameters.items(), point, strict=True)
        return {**self.fixed, **{name: parameter.decode(unit) for (name, parameter), unit in units}}

    def encode(self, configuration: Configuration) -> Point:
        """The point in the middle of the units that decode to `configuration`: (d,)."""
        return tuple(p.encode(configuration[name]) for name, p in self.parameters.items())

    def snap(self, point: Point) -> Point:
        """The one point that stands for all that decode as `point` does: what a model should see."""
        return self.encode(self.decode(point))

    def feasible(self, point: Point) -> bool:
        """True if the configuration at `point` breaks no constraint."""
        return True

    def divisible(self, axis: int, low: float, high: float) -> bool:
        """True if dividing the side [low, high) of a cell leads to another value than its center's.

        A value belongs to the one cell that has the middle of its units. A cell that only touches it, across
        a boundary, would be divided for ever and hold nothing that its neighbors lack.
        """
        parameter = self.parameters[self.names[axis]]
        if isinstance(parameter, Float):
            return True
        first, last = parameter.decode(low), parameter.decode(math.nextafter(high, low))
        held = parameter.position(last) - parameter.position(first) + 1
        held -= (parameter.encode(first) < low) + (parameter.encode(last) >= high)
        if held == 1:
            return not low <= parameter.encode(parameter.decode((low + high) / 2)) < high
        return held > 1


def _check_range(low: float, high: float, log: bool, default: float | None, *, least: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"low = {low} and high = {high} must be finite")
    if low >= high:
        raise ValueError(f"low = {low:g} must be less than high = {high:g}; for one value give `value = …`")
    if log and low <= least:
        raise ValueError(f"log = true needs low > 0, got low = {low:g}")
    if default is not None and not low <= default <= high:
        raise ValueError(f"default = {default:g} lies outside [{low:g}, {high:g}]")


def _scale(value: float, low: float, high: float, log: bool) -> float:
    if log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _unscale(unit: float, low: float, high: float, log: bool) -> float:
    if log:
        return math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
    return low + unit * (high - low)


# Davouse 2025 gives two spaces: the paper's table, and the one its code and data used.
_LEARNING_RATE = Float(1e-10, 1e-1, log=True)
_DROPOUT = Float(0.0, 0.5)
PRESETS: dict[str, dict[str, Float | Int | Choice]] = {
    "davouse2025-table": {
        "lora_rank": Int(2, 32),
        "lora_alpha": Int(16, 64),
        "lora_dropout": _DROPOUT,
        "learning_rate": _LEARNING_RATE,
        "weight_decay": Float(1e-3, 1e-1, log=True),
    },
    "davouse2025-code": {
        "lora_rank": Int(2, 64),
        "lora_alpha": Int(1, 64),
        "lora_dropout": _DROPOUT,
        "learning_rate": _LEARNING_RATE,
        "weight_decay": Float(1e-5, 1e-1, log=True),
    },
}
