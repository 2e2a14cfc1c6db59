from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from orchestrator.algorithms.surrogate import priors
from orchestrator.algorithms.surrogate import process as surrogate
from orchestrator.algorithms.surrogate.priors import Priors
from orchestrator.algorithms.surrogate.process import fit
from orchestrator.space import Point

Array = npt.NDArray[np.float64]


def observed(n: int, d: int = 3, seed: int = 0) -> tuple[list[Point], list[float]]:
    """A smooth function of the first two of d axes."""
    x = np.random.default_rng(seed).random((n, d))
    y = 40 + 7 * (np.sin(5 * x[:, 0]) + x[:, 1 % d] ** 2)
    return [tuple(row) for row in x.tolist()], y.tolist()


@pytest.mark.parametrize("kernel", ["matern52", "rbf"])
@pytest.mark.parametrize("known", [False, True])
def test_the_posterior_is_botorchs(kernel: Any, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    build, fitted = priors.prior_model, list[Any]()

    def kept(*arguments: Any) -> Any:
        fitted.append(build(*arguments))
        return fitted[-1]

    monkeypatch.setattr(surrogate, "prior_model", kept)
    points, scores = observed(15)
    model = fit(points, scores, [0.3] * 15 if known else None, kernel=kernel)
    queries, _ = observed(6, seed=1)
    mean, deviation = model.posterior(queries)
    with torch.no_grad():
        theirs = fitted[0].posterior(torch.tensor(queries, dtype=torch.float64), observation_noise=False)
    y = np.array(scores)
    assert mean == pytest.approx(y.mean() + y.std() * theirs.mean.flatten().numpy(), rel=1e-7)
    assert deviation == pytest.approx(y.std() * theirs.variance.sqrt().flatten().numpy(), rel=1e-5)


def test_it_interpolates_and_is_unsure_elsewhere() -> None:
    points, scores = observed(25, d=2)
    model = fit(points, scores)
    mean, deviation = model.posterior(points)
    assert mean == pytest.approx(scores, abs=0.1)
    assert model.fitted
    assert not model.noisy
    assert model.best == max(scores)
    fresh, truth = observed(50, d=2, seed=1)
    mean, deviation_there = model.posterior(fresh)
    assert np.abs(mean - truth).max() < 2
    assert deviation_there.mean() > 3 * deviation.mean()


def test_it_finds_the_axis_that_does_not_matter() -> None:
    lengthscales = fit(*observed(30, d=3)).lengthscales
    assert lengthscales[2] > 1.5 * max(lengthscales[:2])


@pytest.mark.parametrize("n", [1, 2])
def test_few_points_stay_at_the_priors_centers(n: int) -> None:
    model = fit(*observed(n))
    assert not model.fitted
    assert model.lengthscales == pytest.approx([0.5] * 3)
    _, far = model.posterior([(50.0, 50.0, 50.0)])
    scale = float(np.std(observed(n)[1])) if n > 1 else 1.0
    assert far[0] == pytest.approx(scale)
    assert fit(*observed(3)).fitted


def test_lengthscales_start_longer_in_more_dimensions() -> None:
    assert math.exp(Priors.lengthscale_center(12)) == pytest.approx(1.0)
    assert fit(*observed(2, d=12)).lengthscales == pytest.approx([1.0] * 12)


def test_priors_hold_the_fit_back() -> None:
    points, scores = observed(30)
    tight = fit(points, scores, priors=Priors(lengthscale_sd=1e-3))
    assert tight.lengthscales == pytest.approx([0.5] * 3, rel=0.02)
    loose = fit(points, scores, priors=Priors(lengthscale_sd=3))
    assert loose.lengthscales[2] > 2


def test_known_noise_is_not_interpolated() -> None:
    points, scores = observed(20)
    model = fit(points, scores, [5.0] * 20)
    mean, _ = model.posterior(points)
    assert model.noisy
    assert np.abs(mean - scores).max() > 0.5
    assert model.best == pytest.approx(mean.max())
    assert model.best < max(scores)


def test_a_precise_score_counts_for_more() -> None:
    points = [(0.2,), (0.2,), (0.8,)]
    mean, _ = fit(points, [0.0, 1.0, 0.5], [1e-3, 1.0, 1e-3]).posterior([(0.2,)])
    assert mean[0] < 0.1


def test_a_missing_standard_error_is_the_mean_of_the_others() -> None:
    points, scores = observed(8)
    some = fit(points, scores, [0.5, None, 0.5, None, 0.5, 0.5, 0.5, 0.5])
    every = fit(points, scores, [0.5] * 8)
    assert some.posterior(points)[0].tolist() == every.posterior(points)[0].tolist()
    none = fit(points, scores, [None] * 8)
    assert none.posterior(points)[0].tolist() == fit(points, scores).posterior(points)[0].tolist()


def test_noise_that_was_not_given_is_found() -> None:
    points, scores = observed(60, d=2)
    noise = np.random.default_rng(2).normal(0, 2, 60)
    model = fit(points, (np.array(scores) + noise).tolist())
    assert model.noisy
    assert model.best < max(np.array(scores) + noise)


AGAIN = """
import json, sys
from tests.algorithms.test_surrogate import observed
from orchestrator.algorithms.surrogate.process import fit
mean, deviation = fit(*observed(30)).posterior(observed(5, seed=1)[0])
json.dump([mean.tolist(), deviation.tolist()], sys.stdout)
"""


def test_equal_data_give_equal_fits_in_another_process_too() -> None:
    mean, deviation = fit(*observed(30)).posterior(observed(5, seed=1)[0])
    run = subprocess.run([sys.executable, "-c", AGAIN], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == [mean.tolist(), deviation.tolist()]


def test_the_order_of_observations_is_below_the_digits_that_matter() -> None:
    points, scores = observed(30)
    order = np.random.default_rng(3).permutation(30)
    queries = observed(5, seed=1)[0]
    shuffled = fit([points[i] for i in order], [scores[i] for i in order])
    assert shuffled.posterior(queries)[0] == pytest.approx(
        fit(points, scores).posterior(queries)[0], rel=1e-3
    )


@pytest.mark.parametrize(
    "scores",
    [
        [3.0] * 6,
        [0.0] * 6,
        [1e300, -1e300, 3e299, 0.0, 1.0, -7e299],
        [1e-300, -1e-300, 0.0, 2e-300, 5e-300, 1e-301],
        [1e12, 1e12 + 1, 1e12 + 2, 1e12 + 4, 1e12, 1e12],
        [0.0, 0.0, 0.0, 0.0, 0.0, -1e308],
    ],
)
def test_any_finite_scores(scores: list[float]) -> None:
    points, _ = observed(6)
    model = fit(points, scores)
    mean, deviation = model.posterior([*points, (0.5, 0.5, 0.5)])
    assert np.isfinite(mean).all()
    assert np.isfinite(deviation).all()
    assert (deviation >= 0).all()
    assert math.isfinite(model.best)


def test_one_place_many_times() -> None:
    model = fit([(0.3, 0.3)] * 40, np.random.default_rng(0).random(40).tolist())
    mean, _ = model.posterior([(0.3, 0.3)])
    assert mean[0] == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize(
    "error", [RuntimeError("not positive definite"), ValueError("nan"), ArithmeticError()]
)
def test_a_fit_that_fails_leaves_the_priors_centers(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(surrogate, "fit_gpytorch_mll_scipy", fails)
    model = fit(*observed(10))
    assert not model.fitted
    assert model.lengthscales == pytest.approx([0.5] * 3)
    assert np.isfinite(model.posterior([(0.5,) * 3])[0]).all()


def test_hyper_parameters_that_are_not_finite_leave_the_priors_centers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def diverges(mll: Any, **_: Any) -> None:
        with torch.no_grad():
            mll.model.covar_module.base_kernel.raw_lengthscale.fill_(math.nan)

    monkeypatch.setattr(surrogate, "fit_gpytorch_mll_scipy", diverges)
    assert not fit(*observed(10)).fitted


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit(*observed(5)).posterior([(0.5,) * 3])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_kernels_are_what_they_are_named() -> None:
    (ell,), z = (fit([(0.0,)], [0.0], kernel="rbf").lengthscales, 0.7)
    covariances = {
        "rbf": math.exp(-(z**2) / 2),
        "matern52": (1 + 5**0.5 * z + 5 * z**2 / 3) * math.exp(-(5**0.5) * z),
    }
    for kernel, k in covariances.items():
        model = fit([(0.0,)], [0.0], kernel=kernel)  # type: ignore[arg-type]
        _, deviation = model.posterior([(z * ell,)])
        noise = math.exp(Priors().noise_center) + priors.LEAST_NOISE
        assert deviation[0] ** 2 == pytest.approx(1 - k**2 / (1 + noise), rel=1e-3), kernel


def test_many_observations_are_thinned_and_the_best_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogate, "MOST_FITTED", 20)
    monkeypatch.setattr(surrogate, "MOST_KEPT", 40)
    points, scores = observed(120, d=2)
    model = fit(points, scores)
    assert model.best == pytest.approx(max(scores))
    best = int(np.argmax(scores))
    mean, _ = model.posterior(points)
    assert mean[best] == pytest.approx(scores[best], abs=0.05)
    assert np.abs(mean - scores).mean() < 0.3
    assert len(surrogate.part(np.array(scores), 40)) == 40


def test_options_of_a_choice_are_equally_far_apart() -> None:
    """Four options: the neighbors on the axis of the one observed are no better known than the farthest."""
    points = [((i + 0.5) / 4, x) for i in (0, 1) for x in (0.1, 0.5, 0.9)]
    model = fit(points, [0.0, 1.0, 0.2, 5.0, 6.0, 5.1], choices={0: 4})
    _, deviation = model.posterior([(0.625, 0.5), (0.875, 0.5), (0.3, 0.5)])
    assert deviation[0] == pytest.approx(deviation[1], rel=1e-9)
    assert deviation[2] < deviation[0]
    ordered = fit(points, [0.0, 1.0, 0.2, 5.0, 6.0, 5.1])
    near, far = ordered.posterior([(0.625, 0.5), (0.875, 0.5)])[1]
    assert near < far
