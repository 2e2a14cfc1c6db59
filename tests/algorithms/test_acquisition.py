"""Expected improvement given what is pending: closed forms, simulation, and what `maximum` may return."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from orchestrator.algorithms.surrogate.acquisition import ExpectedImprovement, FailureModel, maximum
from orchestrator.algorithms.surrogate.process import Surrogate, fit, tensor
from orchestrator.space import Point, SearchSpace
from orchestrator.space.space import Choice, Float, Int


def process(n: int = 10, d: int = 2, seed: int = 0) -> Surrogate:
    x = np.random.default_rng(seed).random((n, d))
    y = np.sin(6 * x[:, 0]) - (x[:, -1] - 0.4) ** 2
    return fit([tuple(row) for row in x.tolist()], y.tolist())


QUERIES = tensor([(0.1, 0.2), (0.9, 0.7), (0.3, 0.9)], 2)


def standardized(model: Surrogate, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    mean, variance, _ = model.latent(x)
    return mean.numpy(), variance.clamp_min(0).sqrt().numpy()


def test_nothing_pending_is_expected_improvement() -> None:
    model = process()
    mean, deviation = standardized(model, QUERIES)
    u = (mean - model.incumbent) / deviation
    expected = deviation * (norm.pdf(u) + u * norm.cdf(u))
    gain = ExpectedImprovement(model, [], fantasies=16, seed=0, slots=3)
    assert gain(QUERIES).numpy() == pytest.approx(np.log(expected), rel=1e-6)


def test_pending_points_are_averaged_over() -> None:
    """Against brute force: draw the pending outcome, fit nothing, condition by the textbook, average EI."""
    model = process()
    pending: list[Point] = [(0.5, 0.5), (0.8, 0.3)]
    gain = ExpectedImprovement(model, pending, fantasies=512, seed=0, slots=1)
    rng = np.random.default_rng(1)
    at = tensor(pending, 2)
    mean_p, _, whitened_p = model.latent(at)
    cov_p = (model.prior(at, at) - whitened_p.T @ whitened_p).numpy()
    noisy = cov_p + max(model.noise, 1e-6) * np.eye(2)
    draws = rng.multivariate_normal(mean_p.numpy(), noisy, 20_000)
    mean_q, variance_q, whitened_q = model.latent(QUERIES)
    cross = (model.prior(at, QUERIES) - whitened_p.T @ whitened_q).numpy()
    weights = np.linalg.solve(noisy, cross)  # (p, m)
    means = mean_q.numpy() + (draws - mean_p.numpy()) @ weights
    deviation = np.sqrt(variance_q.numpy() - np.sum(cross * weights, axis=0))
    at_p = mean_p.numpy() + (draws - mean_p.numpy()) @ np.linalg.solve(noisy, cov_p)
    best = np.maximum(model.incumbent, at_p.max(axis=1))[:, None]
    u = (means - best) / deviation
    expected = np.mean(deviation * (norm.pdf(u) + u * norm.cdf(u)), axis=0)
    assert np.exp(gain(QUERIES).numpy()) == pytest.approx(expected, rel=0.05)


def test_a_pending_point_is_not_asked_for_again() -> None:
    model = process()
    gain = ExpectedImprovement(model, [], fantasies=16, seed=0, slots=2)
    space = SearchSpace({"a": Float(0, 1), "b": Float(0, 1)})
    first = maximum(gain, space, [(0.2, 0.4)], set(), np.random.default_rng(0))
    before = float(gain(tensor([first], 2)))
    gain.add(first)
    assert float(gain(tensor([first], 2))) < before - 1
    second = maximum(gain, space, [(0.2, 0.4)], {first}, np.random.default_rng(0))
    assert math.dist(first, second) > 0.02


def test_the_maximum_is_found() -> None:
    space = SearchSpace({name: Float(0, 1) for name in "abc"})
    target = torch.tensor([0.3, 0.91, 0.0], dtype=torch.float64)
    found = maximum(
        lambda x: -(x - target).square().sum(-1), space, [(0.5,) * 3], set(), np.random.default_rng(0)
    )
    assert found == pytest.approx(target.tolist(), abs=1e-3)


def test_what_is_returned_is_snapped_feasible_and_unseen() -> None:
    space = SearchSpace(
        {"n": Int(1, 4), "c": Choice(("u", "v", "w")), "m": Int(1, 4)}, constraints=("n <= m",)
    )
    seen: set[Point] = set()
    for i in range(30):
        found = maximum(lambda x: x.sum(-1), space, [(0.5,) * 3], seen, np.random.default_rng(i))
        assert found == space.snap(found)
        assert space.feasible(found)
        assert found not in seen
        seen.add(found)
    assert space.cardinality == 30
    assert space.feasible(maximum(lambda x: x.sum(-1), space, [(0.5,) * 3], seen, np.random.default_rng(0)))


def test_beside_a_known_point_nothing_is_asked() -> None:
    space = SearchSpace({"a": Float(0, 1), "b": Float(0, 1)})
    peak = (0.25, 0.75)
    found = maximum(
        lambda x: -(x - torch.tensor(peak, dtype=torch.float64)).square().sum(-1) / 1e-3,
        space,
        [peak],
        {peak},
        np.random.default_rng(0),
    )
    assert 1e-4 < math.dist(found, peak) < 0.2


def test_failures_are_likely_where_they_were() -> None:
    points = [(x, y) for x in (0.1, 0.3, 0.5, 0.7, 0.9) for y in (0.2, 0.8)]
    labels = [1.0 if x < 0.6 else -1.0 for x, _ in points]
    model = FailureModel(fit(points, labels))
    ok = model.log_ok(tensor([(0.1, 0.5), (0.9, 0.5)], 2)).exp()
    assert ok[0] > 0.9
    assert ok[1] < 0.1
