"""The laws of the power transformation, and its fit against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import yeojohnson

from orchestrator.algorithms.surrogate.warp import LAMBDAS, Warp, fitted_power, slope, yeo_johnson

powers = st.floats(*LAMBDAS)
values = st.lists(st.floats(-50, 50), min_size=1, max_size=8).map(np.array)


@given(values, st.one_of(powers, st.sampled_from([0.0, 2.0, 1.0])))
def test_it_is_scipys(z: np.ndarray, power: float) -> None:
    assert yeo_johnson(z, power) == pytest.approx(yeojohnson(z, power), rel=1e-6, abs=1e-9)


@given(st.floats(-5, 5), powers)
def test_the_slope_is_the_derivative(z: float, power: float) -> None:
    step = 1e-6
    ends = yeo_johnson(np.array([z - step, z + step]), power)
    assert slope(np.array([z]), power)[0] == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-4)


def test_a_long_tail_is_drawn_in_and_order_is_kept() -> None:
    y = -np.exp(np.random.default_rng(0).normal(0, 2, 60))
    u = Warp.fitted(y)(y)
    assert np.array_equal(np.argsort(u), np.argsort(y))
    assert abs(u.min()) < 4 < abs((y.min() - y.mean()) / y.std())
    assert (u.mean(), u.std()) == (pytest.approx(0, abs=1e-9), pytest.approx(1))


def test_few_or_equal_scores_are_left_as_they_are() -> None:
    assert fitted_power(np.array([1.0, 2.0, 50.0])) == 1.0
    assert fitted_power(np.full(9, 3.0)) == 1.0


@given(st.integers(0, 10_000))
def test_back_is_the_inverse(seed: int) -> None:
    y = np.random.default_rng(seed).standard_t(2, 12)
    warp = Warp.fitted(y)
    assert warp.back(warp(y)) == pytest.approx(y, rel=1e-6, abs=1e-8)


def test_a_bound_that_no_score_has_is_infinite() -> None:
    y = -np.exp(np.random.default_rng(0).normal(0, 2, 60))
    warp = Warp.fitted(-y)
    assert warp.power < 0
    assert warp.back(np.array([1e6]))[0] == np.inf


def test_errors_are_carried_over_to_first_order() -> None:
    y = np.random.default_rng(1).gamma(2.0, 3.0, 30)
    warp = Warp.fitted(y)
    small = 1e-6
    assert warp.errors(y, np.full(30, small)) == pytest.approx(
        (warp(y + small) - warp(y - small)) / 2, rel=1e-4
    )


@pytest.mark.parametrize("scale", [1e300, 1e-300, 1.0])
def test_any_scale(scale: float) -> None:
    y = np.array([-1.0, 0.3, 0.2, 0.9, -0.5]) * scale
    assert np.isfinite(Warp.fitted(y)(y)).all()
