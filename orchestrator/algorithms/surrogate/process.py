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

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import gpytorch
import numpy as np
import numpy.typing as npt
import torch
from botorch.exceptions import BotorchError, ModelFittingError
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.cholesky import psd_safe_cholesky

from orchestrator.algorithms.surrogate.features import Features
from orchestrator.algorithms.surrogate.priors import LEAST_NOISE, Kernel, Priors, prior_model
from orchestrator.algorithms.surrogate.warp import standardized
from orchestrator.space import Point

Array = npt.NDArray[np.float64]
Scored = tuple[Point, float, float | None]  # snapped point, score, standard error

NOISY = 1e-4  # of z: above it the best score is luck in part, and f⁺ is taken from the mean
DEFAULT = Priors()
MOST_FITTED, MOST_KEPT = 400, 1500  # observations: a fit costs n³ a step, and n² memory
FEWEST = 3  # observations from which hyper-parameters are fitted
_ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A fitted posterior; `fit` makes one. What takes and gives tensors is in units of z, and differentiable.

    Attributes:
        best: f⁺ in units of the scores: the best of them or, if they are noisy, the highest posterior mean at
            an observed point.
        noisy: whether the noise of some score, known or fitted, is above 1e-4.
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

    @classmethod
    def conditioned(
        cls,
        hyper: Any,
        x: torch.Tensor,
        z: torch.Tensor,
        noise: torch.Tensor,
        *,
        kernel: Kernel,
        features: Features,
    ) -> Surrogate:
        """Algorithm 2.1 of Rasmussen & Williams, and f⁺; in units of z.

        Args:
            hyper: a SingleTaskGP that has the hyper-parameters.
            x: features of X.
            z: (n,).
            noise: variance of each of z (n,).
            kernel: as `fit`.
            features: of a point.

        Raises:
            ArithmeticError: the posterior is not finite.
        """
        lengthscales = hyper.covar_module.base_kernel.lengthscale.detach().flatten()
        process = cls(
            best=0.0,
            noisy=float(noise.max()) > NOISY,
            lengthscales=tuple(lengthscales.tolist()),
            noise=float(noise.mean()),
            incumbent=0.0,
            fitted=True,
            _kernel=kernel,
            _features=features,
            _inverse_lengthscales=1 / lengthscales,
            _variance=float(hyper.covar_module.outputscale),
            _constant=float(hyper.mean_module.constant),
            _points=x,
            _cholesky=torch.empty(0),
            _weights=torch.empty(0),
            _shift=0.0,
            _scale=1.0,
        )
        cholesky = psd_safe_cholesky(process._covariance(x, x) + torch.diag(noise))
        weights = torch.cholesky_solve((z - process._constant).unsqueeze(-1), cholesky).squeeze(-1)
        process = replace(process, _cholesky=cholesky, _weights=weights)
        mean, variance, _ = process._latent(x)  # noqa: SLF001 — its own
        if not (mean.isfinite().all() and variance.isfinite().all()):
            raise ArithmeticError("the posterior is not finite")
        incumbent = float(mean.max() if process.noisy else z.max())
        return replace(process, incumbent=incumbent, best=incumbent)

    def scaled(self, shift: float, scale: float, *, fitted: bool) -> Surrogate:
        """Return the same process of scores `shift` + `scale` · z."""
        best = shift + scale * self.incumbent
        return replace(self, best=best, fitted=fitted, _shift=shift, _scale=scale)

    @property
    def dimension(self) -> int:
        """How many axes a point has: d."""
        return self._features.dimension

    def posterior(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """Return μ (m,) and s (m,) at `points` (m, d), in units of the scores."""
        with torch.no_grad(), exact():
            mean, variance, _ = self.latent(tensor(points, self.dimension))
        deviation = variance.clamp_min(0).sqrt()
        return self._shift + self._scale * mean.numpy(), self._scale * deviation.numpy()

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
    priors: Priors = DEFAULT,
    choices: Mapping[int, int] | None = None,
) -> Surrogate:
    """Fit the process to at least one observation.

    It does not fail: at worst the hyper-parameters are the centers of the priors. Beyond `MOST_FITTED`
    observations the hyper-parameters are fitted to a part of them, and beyond `MOST_KEPT` only a part is
    kept: the better half as many as fit, and an even selection of the others.

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
    kept = part(y, MOST_KEPT)
    sample = torch.from_numpy(part(y[kept], MOST_FITTED))
    x, z = features(tensor([points[i] for i in kept], features.dimension)), torch.from_numpy(y[kept])
    variances = known_variances(stderrs, scale)
    known = None if variances is None else variances[kept]
    for fitted in (True, False):
        if fitted and len(kept) < FEWEST:
            continue
        try:
            with exact(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # not converged within the iterations: good enough
                model = prior_model(
                    x[sample], z[sample], None if known is None else known[sample], kernel, priors
                )
                if fitted:
                    mll = ExactMarginalLogLikelihood(model.likelihood, model)
                    fit_gpytorch_mll_scipy(mll, options={"maxiter": _ITERATIONS})
                with torch.no_grad():
                    noise = model.likelihood.noise.expand(len(z)) if known is None else known
                    process = Surrogate.conditioned(model, x, z, noise, kernel=kernel, features=features)
                return process.scaled(shift, scale, fitted=fitted)
        except (RuntimeError, ValueError, ArithmeticError, BotorchError, ModelFittingError):
            if not fitted:  # linear algebra cannot fail at the priors' centers
                raise
    raise AssertionError("unreachable")


def part(y: Array, most: int) -> npt.NDArray[np.int64]:
    """Return the indices of at most so many scores: half of them the best, half an even selection."""
    if len(y) <= most:
        return np.arange(len(y))
    order = np.argsort(-y, kind="stable")
    rest = np.sort(order[most // 2 :])
    even = rest[np.linspace(0, len(rest) - 1, most - most // 2).astype(np.int64)]
    return np.sort(np.concatenate([order[: most // 2], even]))


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
