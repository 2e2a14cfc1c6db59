"""The Gaussian process behind the model-based searches.

Notation (n observations, m queries, d axes):

    X  (n, d)  points in the unit cube, integers and choices snapped by the caller
    y  (n,)    scores, maximized; z = (y − mean) / sd, with sd = 1 if it is below 1e-12
    s² (n,)    known variance of each score (standard error squared), if it was measured
    ℓ  (d,)    lengthscales          v  signal variance          σ²  noise variance, of z
    k(x, x')   v · Matérn-5/2 or RBF of (x − x') / ℓ             c   constant mean
    L  (n, n)  Cholesky factor of k(X, X) + σ² I                 α   (k(X, X) + σ² I)⁻¹ (z − c)
    μ, s       (m,) posterior mean and standard deviation of the function itself, without noise
    f⁺         best score known

Hyper-parameters are the maximum a posteriori under

    ln ℓ ~ N(ln(½ √(d/3)), ¾²)      ln v ~ N(0, 1)      ln σ² ~ N(−6, 2.5²)

(`Priors` holds these numbers): shorter and narrower in ℓ than BoTorch's default, N(√2 + ½ ln d, 3) (Hvarfner,
Hellsten & Nardi 2024), with which our searches ended worse. With one or two points they stay at the centers
of the priors. The fit starts there every time: it is a function of the data alone, nothing is carried over.

References: Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, eq. 2.25–2.26, Algorithm 2.1.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import gpytorch
import numpy as np
import numpy.typing as npt
import torch
from botorch.exceptions import BotorchError, ModelFittingError
from botorch.models import SingleTaskGP
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import NormalPrior
from linear_operator.utils.cholesky import psd_safe_cholesky

from orchestrator.trial import Point

Array = npt.NDArray[np.float64]

LEAST_NOISE = 1e-6  # of z: keeps k(X, X) + σ² I well conditioned in float64
NOISY = 1e-4  # of z: above it the best score is luck in part, and f⁺ is taken from the mean
FEWEST = 3  # observations from which hyper-parameters are fitted
_ITERATIONS = 200


@dataclass(frozen=True, slots=True)
class Priors:
    """Normal priors on the logarithms of the hyper-parameters of z."""

    lengthscale_sd: float = 0.75
    variance_sd: float = 1.0
    noise_center: float = -6.0
    noise_sd: float = 2.5

    @staticmethod
    def lengthscale_center(d: int) -> float:
        """Return ln(½ √(d/3)): ℓ grows as the distances between points do, √(d/6) in the mean."""
        return math.log(0.5 * math.sqrt(d / 3))


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A fitted posterior; `fit` makes one.

    Attributes:
        best: f⁺ in units of the scores: the best of them or, if they are noisy, the highest posterior mean at
            an observed point.
        noisy: whether the scores came with standard errors, or the fitted σ² is above 1e-4.
        lengthscales: ℓ, (d,).
        fitted: False if the hyper-parameters are the priors' centers.
    """

    best: float
    noisy: bool
    lengthscales: tuple[float, ...]
    fitted: bool
    _model: Any  # SingleTaskGP in evaluation mode
    _points: torch.Tensor  # X
    _cholesky: torch.Tensor  # L
    _weights: torch.Tensor  # α, (n, 1)
    _shift: float  # mean of y
    _scale: float  # sd of y

    def posterior(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """Return μ (m,) and s (m,) at `points` (m, d), in units of the scores."""
        with torch.no_grad(), _one_thread():
            mean, deviation = _latent(
                self._model,
                self._points,
                self._cholesky,
                self._weights,
                _tensor(points, self._points.shape[1]),
            )
        return self._shift + self._scale * mean, self._scale * deviation


def fit(
    points: Sequence[Point],
    scores: Sequence[float],
    stderrs: Sequence[float | None] | None = None,
    *,
    kernel: Literal["matern52", "rbf"] = "matern52",
    priors: Priors = Priors(),
) -> Surrogate:
    """Fit the process to at least one observation.

    It does not fail: at worst the hyper-parameters are the centers of the priors.

    Args:
        points: X, (n, d). Their order changes nothing but the last digits: sort them for equal fits.
        scores: y, (n,).
        stderrs: standard error of each score; one that is missing counts as the mean of the others.
        kernel: both with a lengthscale per axis.
        priors: of the hyper-parameters.
    """
    x = _tensor(points, len(points[0]))
    z, shift, scale = _standardized(np.asarray(scores, dtype=np.float64))
    variances = _variances(stderrs, scale)
    for fitted in (True, False):
        if fitted and len(scores) < FEWEST:
            continue
        try:
            with _one_thread(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # not converged within the iterations: good enough
                model = _model(x, z, variances, kernel, priors)
                if fitted:
                    mll = ExactMarginalLogLikelihood(model.likelihood, model)
                    fit_gpytorch_mll_scipy(mll, options={"maxiter": _ITERATIONS})
                return _conditioned(model, x, z, shift, scale, known=variances is not None, fitted=fitted)
        except (RuntimeError, ValueError, ArithmeticError, BotorchError, ModelFittingError):
            if not fitted:  # linear algebra cannot fail at the priors' centers
                raise
    raise AssertionError("unreachable")


def _conditioned(
    model: Any, x: torch.Tensor, z: torch.Tensor, shift: float, scale: float, *, known: bool, fitted: bool
) -> Surrogate:
    """Algorithm 2.1 of Rasmussen & Williams, and f⁺."""
    model.eval()
    with torch.no_grad():
        noise = model.likelihood.noise.expand(len(z))
        gram = model.covar_module(x).to_dense() + torch.diag(noise)
        cholesky = psd_safe_cholesky(gram)
        weights = torch.cholesky_solve((z - model.mean_module(x)).unsqueeze(-1), cholesky)
        mean, deviation = _latent(model, x, cholesky, weights, x)
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
        raise ArithmeticError("the posterior is not finite")
    noisy = known or float(noise.max()) > NOISY
    best = float(mean.max()) if noisy else float(z.max())
    lengthscales = tuple(model.covar_module.base_kernel.lengthscale.detach().flatten().tolist())
    return Surrogate(
        shift + scale * best, noisy, lengthscales, fitted, model, x, cholesky, weights, shift, scale
    )


def _latent(
    model: Any, x: torch.Tensor, cholesky: torch.Tensor, weights: torch.Tensor, queries: torch.Tensor
) -> tuple[Array, Array]:
    """Eq. 2.25 and 2.26 of z at `queries` (m, d): the diagonal only, where BoTorch's posterior is (m, m)."""
    cross = model.covar_module(x, queries).to_dense()  # (n, m)
    mean = model.mean_module(queries) + (cross.T @ weights).squeeze(-1)
    explained = torch.linalg.solve_triangular(cholesky, cross, upper=False).square().sum(0)
    variance = model.covar_module(queries, diag=True) - explained
    return mean.numpy(), variance.clamp_min(0).sqrt().numpy()


def _model(
    x: torch.Tensor, z: torch.Tensor, variances: torch.Tensor | None, kernel: str, priors: Priors
) -> Any:
    """A SingleTaskGP at the centers of the priors, its positive parameters held as logarithms."""
    d = x.shape[1]
    base = (
        RBFKernel(ard_num_dims=d, lengthscale_constraint=_logarithmic())
        if kernel == "rbf"
        else MaternKernel(nu=2.5, ard_num_dims=d, lengthscale_constraint=_logarithmic())
    )
    center = priors.lengthscale_center(d)
    base.register_prior(
        "lengthscale_prior", NormalPrior(center, priors.lengthscale_sd), lambda m: m.lengthscale.log()
    )
    covariance = ScaleKernel(base, outputscale_constraint=_logarithmic())
    covariance.register_prior(
        "outputscale_prior", NormalPrior(0.0, priors.variance_sd), lambda m: m.outputscale.log()
    )
    likelihood = None
    if variances is None:
        likelihood = GaussianLikelihood(noise_constraint=_logarithmic(LEAST_NOISE))
        likelihood.register_prior(
            "noise_prior", NormalPrior(priors.noise_center, priors.noise_sd), lambda m: m.noise.log()
        )
    model = SingleTaskGP(
        x,
        z.unsqueeze(-1),
        train_Yvar=None if variances is None else variances.unsqueeze(-1),
        likelihood=likelihood,
        covar_module=covariance,
        outcome_transform=None,
        input_transform=None,
    ).double()
    base.lengthscale = math.exp(center)
    covariance.outputscale = 1.0
    if likelihood is not None:
        likelihood.noise = math.exp(priors.noise_center)
    return model


def _logarithmic(least: float = 0.0) -> Any:
    return GreaterThan(least, transform=torch.exp, inv_transform=torch.log)


def _standardized(y: Array) -> tuple[torch.Tensor, float, float]:
    """Return z, mean and sd of y; the largest score is divided out first, so that 1e300 has a square."""
    unit = float(np.abs(y).max()) or 1.0
    scaled = y / unit
    shift, deviation = float(scaled.mean()), float(scaled.std())
    scale = deviation * unit
    if scale < 1e-12:
        return torch.from_numpy(y - shift * unit), shift * unit, 1.0
    return torch.from_numpy((scaled - shift) / deviation), shift * unit, scale


def _variances(stderrs: Sequence[float | None] | None, scale: float) -> torch.Tensor | None:
    """Return the known variances of z, (n,), or None if no standard error was given."""
    given = [(stderr / scale) ** 2 for stderr in stderrs or () if stderr is not None]
    if stderrs is None or not given:
        return None
    missing = sum(given) / len(given)
    filled = [missing if stderr is None else (stderr / scale) ** 2 for stderr in stderrs]
    return torch.tensor(filled, dtype=torch.float64).clamp_min(LEAST_NOISE)


def _tensor(points: Sequence[Point], d: int) -> torch.Tensor:
    return torch.tensor(list(points), dtype=torch.float64).reshape(-1, d)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order whatever the host's cores, exact algebra; at these sizes it is the fastest too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with gpytorch.settings.fast_computations(False, False, False):
            yield
    finally:
        torch.set_num_threads(threads)
