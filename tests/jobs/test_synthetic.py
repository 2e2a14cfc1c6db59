from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize

from orchestrator.contract.synthetic import FUNCTIONS, Function

ALL = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


@ALL
def test_the_minimum_is_where_it_is_said_to_be(function: Function) -> None:
    assert function(function.where) == pytest.approx(function.minimum, rel=1e-9, abs=1e-12)


@ALL
def test_nothing_in_the_box_is_lower(function: Function) -> None:
    low, high = np.array(function.bounds).T
    draws = low + np.random.default_rng(0).random((3000, len(low))) * (high - low)
    start = min(draws, key=function)

    def value(x: npt.NDArray[np.float64]) -> float:
        return function(x.tolist())

    ends = [start, minimize(value, start, bounds=function.bounds).x]
    near = np.asarray(function.where) + 1e-4 * np.random.default_rng(1).standard_normal((100, len(low)))
    lowest = min(function(x) for x in (*ends, *np.clip(near, low, high)))
    assert lowest >= function.minimum - 1e-9


@ALL
def test_the_box_and_its_names(function: Function) -> None:
    assert function.names == tuple(f"x{i}" for i in range(len(function.bounds)))
    assert all(low <= x <= high for x, (low, high) in zip(function.where, function.bounds, strict=True))
    assert FUNCTIONS[function.name] is function


@pytest.mark.parametrize(
    ("name", "x", "value"),
    [
        ("sin1", (0.5,), -0.5864550481324782),
        ("sin2", (0.5, 0.5), -(0.5864550481324782**2)),
        ("branin", (2.5, 7.5), 24.129964413622268),
        ("branin", (-math.pi, 12.275), 0.39788735772973816),
        ("branin", (9.42478, 2.475), 0.39788735772973816),
        ("hartmann3", (0.5,) * 3, -0.6280220150705937),
        ("hartmann6", (0.5,) * 6, -0.5053149917022333),
        ("rosenbrock2", (-1.0, 2.0), 104.0),
        ("peaks", (0.0, 0.0), -8 / (3 * math.e)),
        ("shekel5", (1.0,) * 4, -5.0552),  # its known local minima, to four digits
        ("shekel5", (8.0,) * 4, -5.1008),
        ("ackley5", (3.1 + 1, -7.4, 12.2, -1.7, 5.5), 20 - 20 * math.exp(-0.2 * math.sqrt(0.2))),
    ],
)
def test_known_values(name: str, x: tuple[float, ...], value: float) -> None:
    assert FUNCTIONS[name](x) == pytest.approx(value, rel=1e-5 if name == "shekel5" else 1e-9)


def test_a_wrong_number_of_coordinates_is_refused() -> None:
    with pytest.raises(ValueError, match="branin takes 2 coordinates, got 3"):
        FUNCTIONS["branin"]((0.0, 0.0, 0.0))
