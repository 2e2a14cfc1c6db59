"""The laws between natural units and the unit cube."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from orchestrator.errors import InputError
from orchestrator.space import SearchSpace
from orchestrator.space.space import PRESETS, Choice, Float, Int

Parameter = Float | Int | Choice

units = st.floats(0, 1)
linear_ints = st.builds(lambda low, more: Int(low, low + more), st.integers(-40, 40), st.integers(1, 60))
log_ints = st.builds(
    lambda low, more: Int(low, low + more, log=True), st.integers(1, 40), st.integers(1, 200)
)
ints = linear_ints | log_ints
floats = st.builds(
    lambda low, more: Float(low, low + more), st.floats(-1e3, 1e3), st.floats(1e-3, 1e6)
) | st.builds(lambda low, ratio: Float(low, low * ratio, log=True), st.floats(1e-10, 10), st.floats(1.1, 1e9))
values = (
    st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 0.5, 1.0]) | st.sampled_from(["1", "a", "b"])
)
choices = st.lists(values, min_size=2, max_size=6, unique_by=lambda v: (type(v), v)).map(
    lambda options: Choice(tuple(options))
)
finite = ints | choices


def values_of(parameter: Int | Choice) -> list[bool | int | float | str]:
    return (
        list(range(parameter.low, parameter.high + 1))
        if isinstance(parameter, Int)
        else list(parameter.options)
    )


def same(a: object, b: object) -> bool:
    return a == b and type(a) is type(b)


@given(finite)
def test_every_value_is_encoded_where_it_is_decoded_from(parameter: Int | Choice) -> None:
    assert all(same(parameter.decode(parameter.encode(value)), value) for value in values_of(parameter))


@given(floats, units)
def test_a_real_number_survives_the_round_trip_up_to_rounding(parameter: Float, unit: float) -> None:
    value = parameter.decode(unit)
    assert parameter.low <= value <= parameter.high
    assert parameter.encode(value) == pytest.approx(unit, abs=1e-9)
    assert parameter.decode(parameter.encode(value)) == pytest.approx(
        value, rel=1e-9, abs=1e-9 * parameter.high
    )


@given(finite, units)
def test_snapping_keeps_the_value_and_is_idempotent(parameter: Int | Choice, unit: float) -> None:
    space = SearchSpace({"p": parameter})
    snapped = space.snap((unit,))
    assert space.decode(snapped) == space.decode((unit,))
    assert space.snap(snapped) == snapped


@given(floats, units)
def test_snapping_hardly_moves_a_real_number(parameter: Float, unit: float) -> None:
    assert SearchSpace({"p": parameter}).snap((unit,)) == pytest.approx((unit,), abs=1e-9)


@given(finite)
def test_the_ends_of_an_axis_are_the_first_and_the_last_value(parameter: Int | Choice) -> None:
    first, *_, last = values_of(parameter)
    assert same(parameter.decode(0.0), first)
    assert same(parameter.decode(1.0), last)


@given(floats)
def test_the_ends_of_a_continuum_are_its_bounds(parameter: Float) -> None:
    assert parameter.decode(0.0) == pytest.approx(parameter.low)
    assert parameter.decode(1.0) == pytest.approx(parameter.high)


@given(ints | floats, units, units)
def test_more_units_never_give_a_smaller_number(parameter: Int | Float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert parameter.decode(low) <= parameter.decode(high)


@given(linear_ints | choices, st.integers(1, 5))
def test_every_value_of_a_linear_axis_has_the_same_share(parameter: Int | Choice, each: int) -> None:
    many = each * len(values_of(parameter))
    shares = Counter(repr(parameter.decode((i + 0.5) / many)) for i in range(many))
    assert shares == {repr(value): each for value in values_of(parameter)}


@given(ints.filter(lambda p: p.high - p.low > 1), st.data())
def test_an_integer_is_rounded_half_up_over_half_a_unit_more_on_either_side(
    parameter: Int, data: st.DataObject
) -> None:
    value = data.draw(st.integers(parameter.low + 1, parameter.high))
    scale = math.log if parameter.log else float
    low, high, edge = (scale(x) for x in (parameter.low - 0.5, parameter.high + 0.5, value - 0.5))
    unit = (edge - low) / (high - low)
    assert parameter.decode(unit + 1e-9) == value
    assert parameter.decode(unit - 1e-9) == value - 1


def test_half_goes_up() -> None:
    assert [Int(-2, 1).decode(k / 4) for k in range(5)] == [-2, -1, 0, 1, 1]
    assert [Int(-2, 1).decode(k / 4 - 1e-12) for k in range(1, 5)] == [-2, -1, 0, 1]


@given(finite, units, units)
@example(Choice(("a", "b")), 0.0, 0.5)
@example(Choice((False, 0)), 0.0, 1.0)
@example(Int(1, 4), 0.25, 0.5)
@example(Int(1, 4), 0.25, 0.5000001)
def test_a_side_is_divisible_exactly_when_it_holds_the_middle_of_a_value_that_is_not_its_centers(
    parameter: Int | Choice, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assume(low < high)
    held = {repr(value) for value in values_of(parameter) if low <= parameter.encode(value) < high}
    others = held - {repr(parameter.decode((low + high) / 2))}
    assert SearchSpace({"p": parameter}).divisible(0, [low], [high], ((low + high) / 2,)) is bool(others)


def test_a_continuum_is_always_divisible() -> None:
    space = SearchSpace({"p": Float(0, 1)})
    assert space.divisible(0, [0.5], [0.5 + 1e-12], (0.5,))


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        (Float(0, 1), 1.5),
        (Float(0, 1), math.nan),
        (Float(0, 1), True),
        (Float(0, 1), "0.5"),
        (Int(1, 4), 5),
        (Int(1, 4), 2.5),
        (Int(1, 4), True),
        (Int(1, 4), math.inf),
        (Int(1, 4), math.nan),
        (Choice((1, 2)), True),
        (Choice((1, 2)), 1.0),
        (Choice(("a", "b")), "c"),
    ],
)
def test_what_is_no_value_is_not_encoded(parameter: Parameter, value: float | str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parameter.encode(value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Float(1, 1), "must be less than"),
        (lambda: Int(5, 3), "must be less than"),
        (lambda: Float(0, math.inf), "finite"),
        (lambda: Float(-1e308, 1e308), "farther than any number"),
        (lambda: Int(0, 2**53 + 1), "beyond 2\\^53"),
        (lambda: Int(-(2**60), 0), "beyond 2\\^53"),
        (lambda: Float(0, 1, log=True), "low > 0"),
        (lambda: Int(0, 9, log=True), "low > 0"),
        (lambda: Float(0, 1, default=2), "outside"),
        (lambda: Choice(("a",)), "at least two"),
        (lambda: Choice(("a", "a")), "twice"),
        (lambda: Choice(("a", "b"), default="c"), "not one of"),
    ],
)
def test_a_range_that_holds_nothing_is_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]


def test_a_space_counts_its_configurations_unless_one_axis_is_a_continuum() -> None:
    grid: dict[str, Parameter] = {"a": Int(1, 4), "b": Choice(("x", "y", "z"))}
    assert SearchSpace(grid).cardinality == 12
    assert SearchSpace({**grid, "c": Float(0, 1)}).cardinality is None


def test_fixed_values_are_part_of_every_configuration_and_of_no_point() -> None:
    space = SearchSpace({"a": Int(1, 4)}, {"epochs": 2})
    assert space.decode((0.0,)) == {"epochs": 2, "a": 1}
    assert space.encode({"epochs": 2, "a": 1}) == (0.125,)
    assert space.dimension == 1


def test_the_default_needs_every_parameters_default() -> None:
    axes: dict[str, Parameter] = {"a": Int(0, 4, default=0), "b": Choice((True, False), default=False)}
    assert SearchSpace(axes, {"c": 1}).default == {"a": 0, "b": False, "c": 1}
    assert SearchSpace({**axes, "d": Float(0, 1)}).default is None


def test_a_space_without_parameters_is_refused() -> None:
    with pytest.raises(InputError, match="no parameter"):
        SearchSpace({}, {"a": 1})


def test_the_published_spaces_are_those_of_the_paper_and_of_its_code() -> None:
    table, code = (SearchSpace(PRESETS[f"davouse2025-{which}"]) for which in ("table", "code"))
    assert table.decode((0.0,) * 5) == pytest.approx(
        {"lora_rank": 2, "lora_alpha": 16, "lora_dropout": 0, "learning_rate": 1e-10, "weight_decay": 1e-3}
    )
    assert code.decode((1.0,) * 5) == pytest.approx(
        {"lora_rank": 64, "lora_alpha": 64, "lora_dropout": 0.5, "learning_rate": 0.1, "weight_decay": 0.1}
    )
    middle = code.decode((0.5,) * 5)
    assert middle["learning_rate"] == pytest.approx(10**-5.5)
