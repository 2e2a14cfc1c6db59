"""Yeo and Johnson's power transformation of scores: a Gaussian process fits symmetric ones better.

A few configurations that are far worse than the rest (a loss that all but diverged) would otherwise set the
scale, and what tells the good ones apart would be lost in the noise.

    ψ(z; λ) = ((1 + z)^λ − 1) / λ                 z ≥ 0      (ln(1 + z) at λ = 0)
            = −((1 − z)^(2−λ) − 1) / (2 − λ)      z < 0      (−ln(1 − z) at λ = 2)

λ minimizes  n/2 · ln var ψ(z) − (λ − 1) Σ sign(z) ln(1 + |z|) + (λ − 1)² / 2  over [−1, 4]: the profile
likelihood under a standard normal prior around λ = 1, the identity, so that few scores are left as they are.

Yeo & Johnson 2000, A new family of power transformations to improve normality or symmetry, eq. 2.1 and 3.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

Array = npt.NDArray[np.float64]

LAMBDAS = (-1.0, 4.0)
FLAT = 1e-9  # an exponent so near to 0 is the logarithm
FEWEST = 4  # scores from which λ is fitted


def yeo_johnson(z: Array, power: float) -> Array:
    """Return ψ(z; λ), increasing in z: (n,)."""
    magnitude = np.log1p(np.abs(z))
    exponent = np.where(z >= 0, power, 2 - power)
    flat = np.abs(exponent) < FLAT
    safe = np.where(flat, 1.0, exponent)
    return np.asarray(np.sign(z) * np.where(flat, magnitude, np.expm1(safe * magnitude) / safe))


def slope(z: Array, power: float) -> Array:
    """Return dψ/dz: (n,), by which a standard error is carried over."""
    return np.asarray(np.exp(np.where(z >= 0, power - 1, 1 - power) * np.log1p(np.abs(z))))


def fitted_power(z: Array) -> float:
    """Return λ for standardized scores z: (n,); 1 if they are too few or all equal."""
    if len(z) < FEWEST or float(z.max() - z.min()) < 1e-12:
        return 1.0
    jacobian = float(np.sum(np.sign(z) * np.log1p(np.abs(z))))

    def cost(power: float) -> float:
        spread = float(np.var(yeo_johnson(z, power)))
        return len(z) / 2 * math.log(max(spread, 1e-300)) - (power - 1) * jacobian + (power - 1) ** 2 / 2

    return float(minimize_scalar(cost, bounds=LAMBDAS, method="bounded", options={"xatol": 1e-4}).x)


@dataclass(frozen=True, slots=True)
class Warp:
    """u = standardized ψ(z), z the standardized scores; `fitted` to scores.

    Attributes:
        power: λ.
        shift, scale: mean and sd of the scores.
        center, spread: mean and sd of ψ(z).
    """

    power: float
    shift: float
    scale: float
    center: float
    spread: float

    @classmethod
    def fitted(cls, scores: Array) -> Warp:
        """Return the warp of scores (n,)."""
        z, shift, scale = standardized(scores)
        power = fitted_power(z)
        _, center, spread = standardized(yeo_johnson(z, power))
        return cls(power, shift, scale, center, spread)

    def __call__(self, scores: Array) -> Array:
        """Return u: (n,)."""
        z = scores / self.scale - self.shift / self.scale  # of scores of 1e300 the difference overflows
        return (yeo_johnson(z, self.power) - self.center) / self.spread

    def errors(self, scores: Array, stderrs: Array) -> Array:
        """Return the standard errors of u, to first order: (n,)."""
        z = scores / self.scale - self.shift / self.scale
        return stderrs / self.scale * slope(z, self.power) / self.spread

    def back(self, u: Array) -> Array:
        """Return the scores that have these u, ±∞ where none has: (n,)."""
        psi = self.center + self.spread * u
        exponent = np.where(psi >= 0, self.power, 2 - self.power)
        flat = np.abs(exponent) < FLAT
        safe = np.where(flat, 1.0, exponent)
        with np.errstate(divide="ignore", over="ignore"):
            inner = np.log1p(np.maximum(safe * np.abs(psi), -1.0)) / safe
            z = np.sign(psi) * np.expm1(np.where(flat, np.abs(psi), inner))
            return self.shift + self.scale * z


def standardized(y: Array) -> tuple[Array, float, float]:
    """Return (y − mean) / sd, mean and sd of y (n,); sd = 1 where it is below 1e-12."""
    unit = float(np.abs(y).max()) or 1.0  # divided out first, so that 1e300 has a square
    scaled = y / unit
    shift, spread = float(scaled.mean()), float(scaled.std())
    if spread * unit < 1e-12:
        return y - shift * unit, shift * unit, 1.0
    return (scaled - shift) / spread, shift * unit, spread * unit
