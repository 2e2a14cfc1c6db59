"""Parameters, the axes of a search space: a range or a choice in natural units, and its image in [0, 1].

Log scales and rounding live here and nowhere else. Decoding is many-to-one: an integer owns the whole
interval that rounds to it, and a choice an equal share of its axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.contract.assignment import Value

Conditions = tuple[
    tuple[str, tuple[Value, ...]], ...
]  # (a choice's name, its allowed values) pairs, all of which must hold
When = Mapping[str, Value | Sequence[Value]] | Conditions


_WHOLE = 2**53  # up to here float64 has every whole number


@dataclass(frozen=True, slots=True)
class Float:
    """A real number in [low, high].

    Attributes:
        low: the least value.
        high: the greatest value.
        log: True if the axis has a logarithmic scale.
        default: the value in the default configuration; None if there is none.
        when: the parameter is active only for these values of choices, `{"optimizer": "sgd"}` or
            `{"optimizer": ["sgd", "nesterov"]}`; if several choices are named, all of them count.
    """

    low: float
    high: float
    log: bool = False
    default: float | None = None
    when: When = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "when", _conditions(self.when))
        _check_range(self.low, self.high, self.log, self.default, least=0.0)

    @property
    def cardinality(self) -> int | None:
        """None: there are infinitely many values."""
        return None

    def decode(self, unit: float) -> float:
        """The value at `unit` in [0, 1]."""
        value = _unscale(unit, self.low, self.high, self.log)
        return min(max(value, self.low), self.high)

    def encode(self, value: Value) -> float:
        """The point in [0, 1] that decodes to `value`, up to rounding.

        Raises:
            ValueError: `value` is not a number in [low, high].
        """
        if isinstance(value, bool | str) or not self.low <= value <= self.high:
            raise ValueError(f"{value!r} is not a number in [{self.low:g}, {self.high:g}]")
        return _scale(value, self.low, self.high, self.log)


@dataclass(frozen=True, slots=True)
class Int:
    """An integer in low..high; the attributes are those of `Float`.

    The axis is a range [low − ½, high + ½], rounded half up, so that the first and the last value have a full
    share of it as well.
    """

    low: int
    high: int
    log: bool = False
    default: int | None = None
    when: When = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "when", _conditions(self.when))
        _check_range(self.low, self.high, self.log, self.default, least=0.5)
        numbers = [number for number in (self.low, self.high, self.default) if number is not None]
        if any(number != int(number) for number in numbers):
            raise ValueError(f"int takes whole numbers, got {numbers}")
        if beyond := [number for number in numbers if abs(number) > _WHOLE]:
            raise ValueError(f"{beyond[0]}: whole numbers beyond 2^53 are not told apart: give a scale of it")

    @property
    def cardinality(self) -> int:
        """The number of values."""
        return self.high - self.low + 1

    @property
    def values(self) -> Sequence[Value]:
        """All values, in increasing order."""
        return range(self.low, self.high + 1)

    def decode(self, unit: float) -> int:
        """The value at `unit` in [0, 1]."""
        value = _unscale(unit, self.low - 0.5, self.high + 0.5, self.log)
        return min(max(math.floor(value + 0.5), self.low), self.high)

    def position(self, value: Value) -> int:
        """The index of `value` in `values`."""
        return int(value) - self.low

    def encode(self, value: Value) -> float:
        """The middle of the interval in [0, 1] that decodes to `value`.

        Raises:
            ValueError: `value` is not a whole number in low..high.
        """
        if isinstance(value, bool | str) or not self.low <= value <= self.high or value != int(value):
            raise ValueError(f"{value!r} is not a whole number in {self.low}..{self.high}")
        ends = (_scale(value + side, self.low - 0.5, self.high + 0.5, self.log) for side in (-0.5, 0.5))
        return sum(ends) / 2


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values without an order.

    Attributes:
        options: the values, at least two; True, 1 and 1.0 are different ones.
        default: the value in the default configuration; None if there is none.
        when: as in `Float`: the values of other choices for which the parameter is active.
    """

    options: tuple[Value, ...]
    default: Value | None = None
    when: When = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "when", _conditions(self.when))
        if len(self.options) < 2:
            raise ValueError(f"needs at least two options, got {list(self.options)}: give one as `value = …`")
        if len({(type(option), option) for option in self.options}) < len(self.options):
            raise ValueError(f"has an option twice: {list(self.options)}")
        if self.default is not None:
            self.encode(self.default)

    @property
    def cardinality(self) -> int:
        """The number of values."""
        return len(self.options)

    @property
    def values(self) -> Sequence[Value]:
        """All values, in the order of the axis."""
        return self.options

    def decode(self, unit: float) -> Value:
        """The value at `unit` in [0, 1]."""
        return self.options[min(int(unit * len(self.options)), len(self.options) - 1)]

    def position(self, value: Value) -> int:
        """The index of `value` in `values`.

        Raises:
            ValueError: `value` is not one of the options.
        """
        return int(self.encode(value) * len(self.options))

    def encode(self, value: Value) -> float:
        """The middle of the interval in [0, 1] that decodes to `value`.

        Raises:
            ValueError: `value` is not one of the options, or is equal to one but of another type.
        """
        for index, option in enumerate(self.options):
            if option == value and type(option) is type(value):
                return (index + 0.5) / len(self.options)
        raise ValueError(f"{value!r} is not one of {list(self.options)}")


Parameter = Float | Int | Choice


def _conditions(when: When) -> Conditions:
    """`when` as nested tuples, which can be compared and hashed."""
    pairs = dict(when).items()
    return tuple((name, tuple(v) if isinstance(v, list | tuple) else (v,)) for name, v in pairs)


def _check_range(low: float, high: float, log: bool, default: float | None, *, least: float) -> None:
    """Check a range; on a log scale `low` must be greater than `least`.

    Raises:
        ValueError: the range is empty, not finite or not positive on a log scale, or `default` is outside.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"low = {low} and high = {high} must be finite")
    if not math.isfinite(high - low):
        raise ValueError(f"from {low:g} to {high:g} is farther than any number can say: narrow the range")
    if low >= high:
        raise ValueError(f"low = {low:g} must be less than high = {high:g}; for one value give `value = …`")
    if log and low <= least:
        raise ValueError(f"log = true needs low > 0, got low = {low:g}")
    if default is not None and not low <= default <= high:
        raise ValueError(f"default = {default:g} lies outside [{low:g}, {high:g}]")


def _scale(value: float, low: float, high: float, log: bool) -> float:
    """The place of `value` between `low` (0) and `high` (1)."""
    if log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _unscale(unit: float, low: float, high: float, log: bool) -> float:
    """The inverse of `_scale`."""
    if log:
        return math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
    return low + unit * (high - low)


Point = tuple[float, ...]  # (d,): a point of the unit cube, one coordinate for each of d parameters
