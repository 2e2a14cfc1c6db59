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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from torch.nn.functional import one_hot

from orchestrator.trial import Point
from orchestrator.warp import standardized

Array = npt.NDArray[np.float64]
Scored = tuple[Point, float, float | None]  # a snapped point, its score, its standard error
Kernel = Literal["matern52", "rbf"]

LEAST_NOISE = 1e-6  # of z: keeps k(X, X) + σ² I well conditioned in float64
NOISY = 1e-4  # of z: above it the best score is luck in part, and f⁺ is taken from the mean
MOST_FITTED, MOST_KEPT = 400, 1500  # observations: a fit costs n³ a step, and n² memory
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


class Features:
    """What the process sees of a point: each axis, but one column for each option of an unordered choice.

    So any two options are equally far apart, until the lengthscales say otherwise. Two options on one axis are
    that already.
    """

    def __init__(self, dimension: int, choices: Mapping[int, int]) -> None:
        self.dimension = dimension
        self._columns = [choices.get(axis, 1) for axis in range(dimension)]

    @property
    def axes(self) -> int:
        """How many columns there are."""
        return sum(count if count > 2 else 1 for count in self._columns)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of x (m, d): (m, axes), differentiable in the ordered axes."""
        if self.axes == self.dimension:
            return x
        columns = []
        for axis, count in enumerate(self._columns):
            column = x[:, axis]
            if count > 2:
                option = (column.detach() * count).long().clamp(0, count - 1)
                columns.append(one_hot(option, count).to(x.dtype) / math.sqrt(2))
            else:
                columns.append(column.unsqueeze(1))
        return torch.cat(columns, dim=1)


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A fitted posterior; `fit` makes one. What takes and gives tensors is in units of z, and differentiable.

    Attributes:
        best: f⁺ in units of the scores: the best of them or, if they are noisy, the highest posterior mean at
            an observed point.
        noisy: whether the scores came with standard errors, or the fitted σ² is above 1e-4.
        lengthscales: ℓ, (d,).
        noise: σ² of z; the mean of them if they are known.
        incumbent: f⁺ of z.
        fitted: False if the hyper-parameters are the priors' centers.
    """

    best: float
    noisy: bool
    lengthscales: tuple[float, ...]
    noise: float
    incumbent: float
    fitted: bool
    _kernel: Kernel
    _features: Features
    _inverse_lengthscales: torch.Tensor  # 1/ℓ (d,)
    _variance: float  # v
    _constant: float  # c
    _points: torch.Tensor  # features of X
    _cholesky: torch.Tensor  # L
    _weights: torch.Tensor  # α (n,)
    _shift: float  # mean of y
    _scale: float  # sd of y

    @property
    def dimension(self) -> int:
        return self._features.dimension

    def posterior(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """Return μ (m,) and s (m,) at `points` (m, d), in units of the scores."""
        with torch.no_grad(), exact():
            mean, variance, _ = self.latent(tensor(points, self.dimension))
        return self._shift + self._scale * mean.numpy(), self._scale * variance.clamp_min(0).sqrt().numpy()

    def latent(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return μ (m,), s² (m,) and L⁻¹ k(X, x) (n, m) at x (m, d): eq. 2.25 and 2.26, the diagonal only."""
        return self._latent(self._features(x))

    def prior(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return k(a, b): (m, l) from (m, d) and (l, d)."""
        return self._covariance(self._features(a), self._features(b))

    def _latent(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        cross = self._covariance(self._points, x)
        whitened = torch.linalg.solve_triangular(self._cholesky, cross, upper=False)
        variance = self._variance - whitened.square().sum(0)
        return self._constant + self._weights @ cross, variance, whitened

    def _covariance(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a, b = a * self._inverse_lengthscales, b * self._inverse_lengthscales
        square = (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(-1)
        if self._kernel == "rbf":
            return self._variance * torch.exp(-square / 2)
        root = (5 * square.clamp_min(1e-20)).sqrt()  # its gradient at 0 is 0, not NaN
        return self._variance * (1 + root + 5 / 3 * square) * torch.exp(-root)


def fit(
    points: Sequence[Point],
    scores: Sequence[float],
    stderrs: Sequence[float | None] | None = None,
    *,
    kernel: Kernel = "matern52",
    priors: Priors = Priors(),
    choices: Mapping[int, int] | None = None,
) -> Surrogate:
    """Fit the process to at least one observation.

    It does not fail: at worst the hyper-parameters are the centers of the priors. Beyond `MOST_FITTED`
    observations the hyper-parameters are fitted to a part of them, and beyond `MOST_KEPT` only a part is kept:
    the better half as many as fit, and an even selection of the others.

    Args:
        points: X, (n, d). Their order changes nothing but the last digits: sort them for equal fits.
        scores: y, (n,).
        stderrs: standard error of each score; one that is missing counts as the mean of the others.
        kernel: both with a lengthscale per axis.
        priors: of the hyper-parameters.
        choices: axis -> number of options, where they have no order: see `Features`.
    """
    features = Features(len(points[0]), choices or {})
    y, shift, scale = standardized(np.asarray(scores, dtype=np.float64))
    kept = _part(y, MOST_KEPT)
    y = y[kept]
    sample = torch.from_numpy(_part(y, MOST_FITTED))
    x = features(tensor([points[i] for i in kept], len(points[0])))
    z = torch.from_numpy(y)
    variances = known_variances(stderrs, scale)
    if variances is not None:
        variances = variances[kept]
    for fitted in (True, False):
        if fitted and len(y) < FEWEST:
            continue
        try:
            with exact(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # not converged within the iterations: good enough
                known = None if variances is None else variances[sample]
                model = _model(x[sample], z[sample], known, kernel, priors)
                if fitted:
                    mll = ExactMarginalLogLikelihood(model.likelihood, model)
                    fit_gpytorch_mll_scipy(mll, options={"maxiter": _ITERATIONS})
                return _conditioned(
                    model, x, z, variances, kernel, features, shift=shift, scale=scale, fitted=fitted
                )
        except (RuntimeError, ValueError, ArithmeticError, BotorchError, ModelFittingError):
            if not fitted:  # linear algebra cannot fail at the priors' centers
                raise
    raise AssertionError("unreachable")


def _part(y: Array, most: int) -> npt.NDArray[np.int64]:
    """Return the indices of at most so many scores, ascending: the better half of them, and an even selection."""
    if len(y) <= most:
        return np.arange(len(y))
    order = np.argsort(-y, kind="stable")
    rest = np.sort(order[most // 2 :])
    even = rest[np.linspace(0, len(rest) - 1, most - most // 2).astype(np.int64)]
    return np.sort(np.concatenate([order[: most // 2], even]))


def _conditioned(
    model: Any,
    x: torch.Tensor,
    z: torch.Tensor,
    variances: torch.Tensor | None,
    kernel: Kernel,
    features: Features,
    *,
    shift: float,
    scale: float,
    fitted: bool,
) -> Surrogate:
    """Algorithm 2.1 of Rasmussen & Williams, and f⁺."""
    with torch.no_grad():
        noise = model.likelihood.noise.expand(len(z)) if variances is None else variances
        lengthscales = model.covar_module.base_kernel.lengthscale.flatten()
        constant = float(model.mean_module.constant)
        process = Surrogate(
            best=0.0,
            noisy=float(noise.max()) > NOISY,
            lengthscales=tuple(lengthscales.tolist()),
            noise=float(noise.mean()),
            incumbent=0.0,
            fitted=fitted,
            _kernel=kernel,
            _features=features,
            _inverse_lengthscales=1 / lengthscales,
            _variance=float(model.covar_module.outputscale),
            _constant=constant,
            _points=x,
            _cholesky=torch.empty(0),
            _weights=torch.empty(0),
            _shift=shift,
            _scale=scale,
        )
        cholesky = psd_safe_cholesky(process._covariance(x, x) + torch.diag(noise))
        weights = torch.cholesky_solve((z - constant).unsqueeze(-1), cholesky).squeeze(-1)
        process = replace(process, _cholesky=cholesky, _weights=weights)
        mean, variance, _ = process._latent(x)
    if not (mean.isfinite().all() and variance.isfinite().all()):
        raise ArithmeticError("the posterior is not finite")
    incumbent = float(mean.max() if process.noisy else z.max())
    return replace(process, incumbent=incumbent, best=shift + scale * incumbent)


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


def known_variances(stderrs: Sequence[float | None] | None, scale: float) -> torch.Tensor | None:
    """Return the known variances of scores / `scale`, (n,), or None if no standard error was given."""
    given = [(stderr / scale) ** 2 for stderr in stderrs or () if stderr is not None]
    if stderrs is None or not given:
        return None
    missing = sum(given) / len(given)
    filled = [missing if stderr is None else (stderr / scale) ** 2 for stderr in stderrs]
    return torch.tensor(filled, dtype=torch.float64).clamp_min(LEAST_NOISE)


def tensor(points: Sequence[Point], d: int) -> torch.Tensor:
    """Return `points` as (m, d)."""
    return torch.tensor(list(points), dtype=torch.float64).reshape(-1, d)


@contextmanager
def exact() -> Iterator[None]:
    """Sums in one order whatever the host's cores, exact algebra; at these sizes it is the fastest too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with gpytorch.settings.fast_computations(False, False, False):
            yield
    finally:
        torch.set_num_threads(threads)
