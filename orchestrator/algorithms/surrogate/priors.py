"""What is believed of a Gaussian process's hyper-parameters before anything is observed: see `surrogate`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from botorch.models import SingleTaskGP
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.priors import NormalPrior

Kernel = Literal["matern52", "rbf"]
LEAST_NOISE = 1e-6  # of z: keeps k(X, X) + σ² I well conditioned in float64


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


def prior_model(
    x: torch.Tensor, z: torch.Tensor, variances: torch.Tensor | None, kernel: Kernel, priors: Priors
) -> Any:
    """Return a SingleTaskGP at the centers of the priors, its positive parameters held as logarithms.

    Args:
        x: (n, d).
        z: (n,), standardized.
        variances: known noise of each of z (n,), if it is known.
        kernel: both with a lengthscale per axis.
        priors: what a fit is held back by.
    """
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
