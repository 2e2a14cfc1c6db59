"""ln h(u), h(u) = φ(u) + u Φ(u): the expected improvement of a standard normal variable, without underflow.

    u > −1 :  ln (φ + u Φ)
    else   :  ln φ + ln (1 − e^w)        w = ln (|u| Φ / φ) = ln (|u| erfcx(−u/√2)) + ln √(π/2)

and −2 ln |u| for the last term where w is 0 in float64. Each branch is masked to where it holds, so that none
sends NaN into the gradient of the other.

Ament, Daulton, Eriksson, Balandat & Bakshy 2023, arXiv 2310.20708, eq. 9 and 14.
"""

from __future__ import annotations

import math

import torch

_BOUND, _FAR = -1.0, -1e6
_LN_ROOT_2PI = math.log(2 * math.pi) / 2
_LN_ROOT_HALF_PI = math.log(math.pi / 2) / 2


def log_h(u: torch.Tensor) -> torch.Tensor:
    """Return ln (φ(u) + u Φ(u)) of float64 u, elementwise and differentiable."""
    upper = u.masked_fill(u < _BOUND, _BOUND)
    density = (1 / math.sqrt(2 * math.pi)) * (-0.5 * upper.square()).exp()
    near = (density + upper * (0.5 * torch.erfc(-1 / math.sqrt(2) * upper))).log()
    lower = u.masked_fill(u > _BOUND, _BOUND)
    masked = lower.masked_fill(u < _FAR, _FAR)
    w = torch.log(torch.special.erfcx(-(2**-0.5) * masked) * masked.abs()) + _LN_ROOT_HALF_PI
    rest = torch.where(u > _FAR, _log1mexp(w), -2 * lower.abs().log())
    return torch.where(u > _BOUND, near, -0.5 * u.square() - _LN_ROOT_2PI + rest)


def _log1mexp(x: torch.Tensor) -> torch.Tensor:
    """Return ln (1 − e^x), x < 0 (Mächler 2012)."""
    return torch.where(x > -math.log(2), (-x.expm1()).log(), (-x.exp()).log1p())
