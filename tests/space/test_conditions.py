"""Spaces in which a parameter exists only for some values of choices."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InputError
from orchestrator.space import SearchSpace
from orchestrator.space.space import Choice, Float, Int, Parameter
from tests.fakes.spaces import everything, finite_spaces, frozen

OPTIMIZER = Choice(("adam", "sgd", "nesterov"), default="sgd")
AXES: dict[str, Parameter] = {
    "momentum": Float(0, 1, when={"optimizer": ["sgd", "nesterov"]}),
    "optimizer": OPTIMIZER,
    "rate": Float(1, 3),
}
SPACE = SearchSpace(AXES)


@given(finite_spaces(), st.data())
def test_a_point_decodes_to_one_of_the_configurations_and_its_snap_to_the_same(
    space: SearchSpace, data: st.DataObject
) -> None:
    point = tuple(data.draw(st.floats(0, 1)) for _ in space.names)
    configuration = space.decode(point)
    known = {frozen(one) for one in everything(space)}
    assert (frozen(configuration) in known) is space.feasible(point)
    assert space.feasible(point) is (space.problems(configuration) == [])
    assert frozen(space.decode(space.snap(point))) == frozen(configuration)
    assert space.encode(configuration) == space.snap(point) == space.snap(space.snap(point))


@given(finite_spaces())
def test_every_configuration_has_a_point_and_is_counted_once(space: SearchSpace) -> None:
    configurations = everything(space)
    points = {space.encode(configuration) for configuration in configurations}
    assert {frozen(space.decode(point)) for point in points} == {frozen(one) for one in configurations}
    assert len(points) == len(configurations) == space.cardinality


def test_points_that_differ_only_where_nothing_is_there_are_one_configuration() -> None:
    assert SPACE.decode((0.9, 0.1, 0.5)) == {"optimizer": "adam", "rate": 2}
    assert SPACE.snap((0.9, 0.1, 0.5)) == SPACE.snap((0.2, 0.3, 0.5)) == pytest.approx((0.5, 1 / 6, 0.5))
    assert SPACE.decode((0.25, 0.9, 0.5)) == {"momentum": 0.25, "optimizer": "nesterov", "rate": 2}
    assert SPACE.snap((0.25, 0.9, 0.5))[0] == 0.25


def test_without_its_parent_no_child_of_a_child_is_there() -> None:
    space = SearchSpace(
        {
            "c": Int(1, 5, when={"b": "p"}),
            "b": Choice(("p", "q"), when={"a": "x"}),
            "a": Choice(("x", "y")),
        }
    )
    assert space.decode((0.0, 0.0, 1.0)) == {"a": "y"}
    assert space.decode((0.0, 1.0, 0.0)) == {"a": "x", "b": "q"}
    assert space.decode((0.0, 0.0, 0.0)) == {"a": "x", "b": "p", "c": 1}
    assert space.cardinality == 1 + 1 + 5


def test_several_conditions_hold_together() -> None:
    a, b = Choice((1, 2, 3)), Choice((True, False))
    space = SearchSpace({"a": a, "b": b, "c": Int(1, 10, when={"a": [1, 2], "b": True})})
    assert space.cardinality == 2 * 10 + 4
    assert "c" not in space.decode((0.0, 1.0, 0.0))


def test_a_large_finite_space_is_counted_without_going_through_it() -> None:
    axes: dict[str, Parameter] = {f"x{i}": Int(1, 1000) for i in range(6)}
    space = SearchSpace({**axes, "a": Choice(("p", "q")), "y": Int(1, 7, when={"a": "p"})})
    assert space.cardinality == 1000**6 * 8


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ({"optimizer": "adam", "rate": 2, "momentum": 0.5}, "momentum is not there with optimizer = 'adam'"),
        ({"optimizer": "sgd", "rate": 2}, "momentum is missing"),
        ({"rate": 2}, "optimizer is missing"),
        ({"optimizer": "sgd", "rate": 2, "momentum": 0.5, "x": 1}, "x is no parameter"),
        ({"optimizer": "sgd", "rate": 4, "momentum": 0.5}, r"rate: 4 is not a number in \[1, 3\]"),
    ],
)
def test_what_is_no_configuration_is_not_encoded(configuration: dict[str, float | str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SPACE.encode(configuration)
    assert len(SPACE.problems(configuration)) == 1


def test_a_fixed_value_may_be_named_but_not_changed() -> None:
    space = SearchSpace({"x": Int(1, 4)}, {"epochs": 2})
    assert space.encode({"x": 1}) == space.encode({"x": 1, "epochs": 2.0})
    with pytest.raises(ValueError, match="epochs is fixed at 2, got 3"):
        space.encode({"x": 1, "epochs": 3})
    with pytest.raises(ValueError, match="fixed at 2, got True"):
        SearchSpace({"x": Int(1, 4)}, {"epochs": 2}).encode({"x": 1, "epochs": True})


def test_the_default_has_what_is_there_by_the_defaults_of_the_choices() -> None:
    rate = Float(1, 3, default=2)
    assert SearchSpace({**AXES, "rate": rate}).default is None
    adam = Choice(OPTIMIZER.options, default="adam")
    assert SearchSpace({**AXES, "rate": rate, "optimizer": adam}).default == {"optimizer": "adam", "rate": 2}


def test_parameters_with_equal_conditions_are_equal_and_can_be_keys() -> None:
    one, other = Float(0, 1, when={"a": "x"}), Float(0, 1, when={"a": ["x"]})
    assert one == other
    assert hash(one) == hash(other)
    assert one != Float(0, 1)


@pytest.mark.parametrize(
    ("axes", "fixed", "problems"),
    [
        (
            {"m": Int(1, 2, when={"optimiser": "sgd"})},
            {},
            ['m: when: no parameter "optimiser"; did you mean'],
        ),
        ({"m": Int(1, 2, when={"optimizer": "sdg"})}, {}, ["m: when: optimizer is never 'sdg': its options"]),
        ({"m": Int(1, 2, when={"optimizer": []})}, {}, ["m: when: give a value of optimizer"]),
        ({"m": Int(1, 2, when={"n": 1}), "n": Int(1, 2)}, {}, ["m: when: n is no choice"]),
        ({"m": Int(1, 2, when={"m": 1})}, {}, ["m: when: m is no choice"]),
        ({"m": Int(1, 2, when={"k": 1})}, {"k": 1}, ["m: when: k is fixed at 1, so it is always there"]),
        ({"m": Int(1, 2, when={"k": 2})}, {"k": 1}, ["m: when: k is fixed at 1, so it is never there"]),
        ({"m": Choice((1, 2), when={"m": 1})}, {}, ["m: when: goes round in a circle: m needs m"]),
        (
            {"m": Choice((1, 2), when={"n": 1}), "n": Choice((1, 2), when={"m": 1})},
            {},
            ["m: when: goes round in a circle: m needs n needs m"],
        ),
        (
            {
                "m": Choice((1, 2), when={"optimizer": "sgd"}),
                "n": Int(1, 2, when={"m": 1, "optimizer": "adam"}),
            },
            {},
            ["n: when: it is never there: no value of optimizer fits"],
        ),
        (
            {"m": Int(1, 2, when={"x": 1}), "n": Int(1, 2, when={"optimizer": 1})},
            {"optimizer": 3, "y": math.nan, "m": 3},
            ["optimizer: is both", "y: nan is no value", "m: is both"],
        ),
        (
            {"m": Int(1, 2, when={"x": 1}), "n": Int(1, 2, when={"optimizer": 1})},
            {},
            ['m: when: no parameter "x"', "n: when: optimizer is never 1"],
        ),
        ({"m": 3}, {"k": [1]}, ["m: 3 is no Float, Int or Choice", "k: [1] is no value"]),
    ],
)
def test_every_wrong_name_and_condition_is_refused_in_one_report(
    axes: dict[str, Parameter], fixed: dict[str, float], problems: list[str]
) -> None:
    with pytest.raises(InputError) as refused:
        SearchSpace({**axes, "optimizer": OPTIMIZER}, fixed)
    found = [problem.removeprefix("space.") for problem in refused.value.problems]
    assert sorted(p[: len(w)] for p, w in zip(sorted(found), sorted(problems), strict=True)) == sorted(
        problems
    )
