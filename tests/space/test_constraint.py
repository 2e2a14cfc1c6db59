"""Constraints: what may be written, when they hold, and spaces in which little or nothing is feasible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InputError
from orchestrator.space import SearchSpace
from orchestrator.space.constraint import Constraint
from orchestrator.space.space import Choice, Float, Int, Parameter
from tests.fakes.spaces import everything, finite_spaces, frozen

RANK: dict[str, Parameter] = {"rank": Int(1, 64), "alpha": Int(1, 64)}


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> str:
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(["a", "b", "2", "0.5", "1e-1", "0"]))
    left, right = draw(expressions(depth - 1)), draw(expressions(depth - 1))
    return draw(st.sampled_from([f"-{left}", f"({left})", *(f"{left} {o} {right}" for o in "+-*/")]))


@given(
    st.lists(expressions(), min_size=2, max_size=3),
    st.lists(st.sampled_from(["<", "<=", ">", ">="]), min_size=2, max_size=2),
    st.integers(-3, 3),
    st.floats(-2, 2),
)
def test_a_constraint_means_what_it_means_in_python(
    parts: list[str], operators: list[str], a: int, b: float
) -> None:
    text = parts[0] + "".join(f" {o} {p}" for o, p in zip(operators, parts[1:], strict=False))
    try:
        expected = all(
            eval(f"({left}) {o} ({right})", {"a": a, "b": b})
            for left, o, right in zip(parts, operators, parts[1:], strict=False)
        )
        for part in parts:
            eval(part, {"a": a, "b": b})
    except ZeroDivisionError:
        expected = False
    assert Constraint(text).holds({"a": a, "b": b}) is expected


def test_a_constraint_on_what_is_not_there_does_not_apply() -> None:
    constraint = Constraint("momentum <= 0.5 * rate")
    assert constraint.holds({"rate": 1})
    assert not constraint.holds({"rate": 1, "momentum": 0.6})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rank", "`rank` compares nothing"),
        ("rank + 1", "`rank + 1` compares nothing"),
        ("rank = 4", "`rank = 4` is not an expression"),
        ("rank <= ", "is not an expression"),
        ("", "is not an expression"),
        ("rank\0 < 3", "is not an expression"),
        ("rank == 4", "`rank == 4`: only <=, <, >= and > compare here"),
        ("1 <= rank != 4", "only <=, <, >= and > compare here"),
        ("rank ** 2 <= 4", "`rank ** 2 <= 4`: `rank ** 2` is not allowed: names, numbers"),
        ("rank % 2 < 1", "`rank % 2` is not allowed"),
        ("rank // 2 < 1", "`rank // 2` is not allowed"),
        ("+rank < 1", "`+rank` is not allowed"),
        ("abs(rank) < 3", "`abs(rank)` is not allowed"),
        ("__import__('os').system('true') < 1", "is not allowed"),
        ("rank.real < 3", "`rank.real` is not allowed"),
        ("rank < '3'", "`'3'` is not allowed"),
        ("rank < True", "`True` is not allowed"),
        ("rank < 3j", "`3j` is not allowed"),
        ("(rank < 3) < 2", "`rank < 3` is not allowed"),
        ("rank < 3 and alpha < 3", "compares nothing"),
        ("rank < (alpha if rank else 3)", "is not allowed"),
        ("-" * 300 + "rank < 3", "longer than 200 characters"),
        ("rnk < 3", 'no number is called "rnk"; did you mean "rank"?'),
        ("x < 3", 'no number is called "x"; known: alpha, epochs, rank'),
        ("layer < 3", "`layer < 3`: layer is not a number"),
        ("bias < rank", "`bias < rank`: bias is not a number"),
    ],
)
def test_anything_else_is_refused_with_the_piece_at_fault(text: str, words: str) -> None:
    axes = {**RANK, "layer": Choice(("q", "v"))}
    with pytest.raises(InputError) as refused:
        SearchSpace(axes, {"epochs": 3, "bias": True}, ["rank <= alpha", text])
    [problem] = refused.value.problems
    assert problem.startswith("space.constraints.1: ")
    assert words in problem


def test_fixed_numbers_and_choices_of_numbers_may_be_named() -> None:
    space = SearchSpace({"rank": Choice((4, 8, 16)), "x": Int(1, 2)}, {"limit": 8}, "rank <= limit")
    assert [one["rank"] for one in everything(space)] == [4, 4, 8, 8]
    assert space.cardinality == 4


@pytest.mark.parametrize(
    ("axes", "constraints", "words"),
    [
        (RANK, ["rank > 64"], "none of 4,096 configurations satisfies `rank > 64`"),
        (
            RANK,
            ["rank > alpha", "rank < alpha"],
            "none of 4,096 configurations satisfies all of `rank > alpha`, `r",
        ),
        (
            RANK,
            ["rank > alpha", "0 > 1", "rank < 0"],
            "none of 4,096 configurations satisfies `0 > 1`, `rank < 0`",
        ),
        (
            {**RANK, "x": Float(0, 1)},
            ["x > rank"],
            "none of 16,384 configurations satisfies `x > rank`: if some",
        ),
        ({"x": Float(0, 1)}, ["1 / 0 > x"], "none of 16,384"),
    ],
)
def test_constraints_that_nothing_satisfies_are_named(
    axes: dict[str, Parameter], constraints: list[str], words: str
) -> None:
    with pytest.raises(InputError) as refused:
        SearchSpace(axes, {}, constraints)
    [problem] = refused.value.problems
    assert problem.startswith(f"space.constraints: {words}")


def test_a_single_feasible_configuration_is_found_among_many() -> None:
    space = SearchSpace({"a": Int(1, 300), "b": Int(1, 300)}, {}, ["a >= 300", "b >= 300"])
    assert space.cardinality == 1
    generator = np.random.default_rng(0)
    assert [space.decode(point) for point in space.sample(generator, 2)] == [{"a": 300, "b": 300}] * 2


@given(finite_spaces(), st.integers(0, 5))
def test_samples_are_feasible_and_do_not_depend_on_how_many_are_drawn_at_once(
    space: SearchSpace, seed: int
) -> None:
    together = space.sample(np.random.default_rng(seed), 4)
    generator = np.random.default_rng(seed)
    assert [point for _ in range(4) for point in space.sample(generator, 1)] == together
    known = {frozen(one) for one in everything(space)}
    assert all(frozen(space.decode(point)) in known for point in together)


def test_samples_are_uniform_over_the_feasible_part() -> None:
    space = SearchSpace({"a": Float(0, 1), "b": Float(0, 1)}, {}, ["a + b <= 1"])
    points = np.array(space.sample(np.random.default_rng(0), 2000))
    assert points.mean(axis=0) == pytest.approx([1 / 3, 1 / 3], abs=0.02)
    assert (points.sum(axis=1) < 0.5).mean() == pytest.approx(0.25, abs=0.03)


def test_sampling_gives_up_where_feasible_points_are_too_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    space = SearchSpace({"a": Float(0, 1), "b": Int(1, 9)}, {}, ["a <= 0.001"])
    monkeypatch.setattr("orchestrator.space.space.MISSES", 3)
    with pytest.raises(InputError, match="3 points in a row broke them"):
        space.sample(np.random.default_rng(0), 1)


@given(
    st.integers(4, 64), st.floats(0.01, 1.0), st.sampled_from([True, False]), st.sampled_from([True, False])
)
def test_what_lies_on_the_border_is_encoded_on_its_feasible_side(
    rank: int, ratio: float, upper: bool, log: bool
) -> None:
    text = f"alpha {'<=' if upper else '>='} {ratio!r} * rank"
    space = SearchSpace({"rank": Int(4, 64, log=True), "alpha": Float(0.01, 128, log=log)}, {}, [text])
    border = {"rank": rank, "alpha": ratio * rank}
    assert space.problems(border) == []
    point = space.encode(border)
    assert space.feasible(point)
    assert space.decode(point)["alpha"] == pytest.approx(border["alpha"], rel=1e-9)


def test_twice_the_rank_is_a_default_and_not_a_bit_more() -> None:
    """Of 57 pairs (rank, 2 rank), 28 decode to an alpha that is a bit too large."""
    axes: dict[str, Parameter] = {"rank": Int(4, 60, log=True), "alpha": Float(4, 128, log=True)}
    space = SearchSpace(axes, {}, ["alpha <= 2 * rank"])
    pairs = [{"rank": rank, "alpha": 2.0 * rank} for rank in range(4, 61)]
    assert all(space.feasible(space.encode(pair)) for pair in pairs)
    assert not all(space.feasible(space._middle(pair)) for pair in pairs)
