"""What to evaluate next, given what is pending: expected improvement over fantasies of the pending outcomes.

Let P (p, d) be pending and S fantasies drawn of their outcomes, y_s = m + L_P ε_s, with m (p,) the posterior
mean at P and L_P the Cholesky factor of the posterior covariance at P plus noise. Conditioned on (P, y_s) the
process has, with w(x) = L_P⁻¹ cov(P, x),

    μ_s(x) = μ(x) + w(x) · ε_s            s²(x) = σ²(x) − |w(x)|²

so all fantasies share one factorization and one deviation. The incumbent of a fantasy is the greater of f⁺
and its mean at P. With u_s = (μ_s(x) − f⁺_s) / s(x), what is maximized is

    ln (1/S) Σ_s s(x) h(u_s)        h(u) = φ(u) + u Φ(u)

to which `Belief.careful` adds ln P_ok(x), the chance that x gives a score at all (`FailureModel`).

ε are scrambled Sobol points through the normal quantile. Snoek, Larochelle & Adams 2012, §3.2 (fantasies);
Ament, Daulton, Eriksson, Balandat & Bakshy 2023 (ln h without underflow); Gelbart, Snoek & Adams 2014 (P_ok).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.stats import norm, qmc

from orchestrator.algorithms.surrogate.improvement import log_h
from orchestrator.algorithms.surrogate.priors import LEAST_NOISE
from orchestrator.algorithms.surrogate.process import Surrogate, exact, tensor
from orchestrator.space import Point, SearchSpace
from orchestrator.space.sampling import fresh

Array = npt.NDArray[np.float64]
Value = Callable[[torch.Tensor], torch.Tensor]  # (m, d) -> (m,), differentiable

LABEL_NOISE = 0.05  # variance added to that of the process on ±1, where it is read as a probability


class FailureModel:
    """How likely a configuration is to give a score at all: P_ok(x) = Φ(μ(x) / √(0.05 + s²(x)))."""

    def __init__(self, process: Surrogate) -> None:
        """`process` is fitted to +1 where there was a score and −1 where there was none."""
        self._process = process

    def log_ok(self, x: torch.Tensor) -> torch.Tensor:
        """Return ln P_ok: (m,)."""
        mean, variance, _ = self._process.latent(x)
        ratio = mean / (LABEL_NOISE + variance).sqrt()
        log_ok: torch.Tensor = torch.special.log_ndtr(ratio)
        return log_ok


class ExpectedImprovement:
    """ln mean_s EI, the mean over fantasies; `add` makes one more point pending."""

    def __init__(
        self, process: Surrogate, pending: Sequence[Point], *, fantasies: int, seed: int, slots: int
    ) -> None:
        """Args:
        process: fitted to what is known.
        pending: P.
        fantasies: S; 1 if nothing is pending has the same effect.
        seed: of ε.
        slots: how many points `add` may add.
        """
        self._process = process
        self._pending = list(pending)
        most = max(1, len(pending) + slots)
        # Sobol sequences balance powers of two.
        draws = qmc.Sobol(most, rng=np.random.default_rng(seed)).random_base2(
            max(0, math.ceil(math.log2(fantasies)))
        )
        self._normal = torch.from_numpy(norm.ppf(np.clip(draws[:fantasies], 1e-9, 1 - 1e-9)))  # ε (S, most)
        self._condition()

    def add(self, point: Point) -> None:
        """Make `point` pending."""
        self._pending.append(point)
        self._condition()

    def _condition(self) -> None:
        """L_P and the incumbent of every fantasy."""
        process = self._process
        if not self._pending:
            self._incumbents = torch.full((1,), process.incumbent, dtype=torch.float64)
            return
        with torch.no_grad(), exact():
            self._queries = tensor(self._pending, process.dimension)
            mean, _, self._explained = process.latent(self._queries)  # (p,), (n, p)
            covariance = process.prior(self._queries, self._queries) - self._explained.T @ self._explained
            noise = max(process.noise, LEAST_NOISE)
            self._factor = torch.linalg.cholesky(
                covariance + noise * torch.eye(len(covariance), dtype=torch.float64)
            )
            self._epsilon = self._normal[:, : len(self._pending)]
            weights = torch.linalg.solve_triangular(self._factor, covariance, upper=False)  # w at P (p, p)
            means = mean + self._epsilon @ weights  # (S, p)
            self._incumbents = means.max(dim=1).values.clamp_min(process.incumbent)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the acquisition at x (m, d): (m,)."""
        process = self._process
        mean, variance, explained = process.latent(x)
        if self._pending:
            cross = process.prior(self._queries, x) - self._explained.T @ explained
            w = torch.linalg.solve_triangular(self._factor, cross, upper=False)  # (p, m)
            means = mean + self._epsilon @ w  # (S, m)
            variance = variance - w.square().sum(0)
        else:
            means = mean.unsqueeze(0)
        deviation = variance.clamp_min(1e-14).sqrt()
        u = (means - self._incumbents.unsqueeze(1)) / deviation
        return torch.logsumexp(log_h(u), dim=0) - math.log(len(u)) + deviation.log()


SAMPLES = 384  # uniform starting points
SCALES, AROUND = (0.15, 0.05, 0.015, 0.004), 24  # and so many around the leaders at each scale
CLIMBS, APART = 4, 0.03  # the best of them that are so far apart climb
SAME, ASIDE = (
    1e-4,
    0.02,
)  # a point this near to a known one tells nothing new: step aside so far from the leader


def maximum(
    value: Value,
    space: SearchSpace,
    leaders: Sequence[Point],
    seen: Collection[Point],
    generator: np.random.Generator,
) -> Point:
    """Return the feasible point of highest `value` that was found and is not in `seen`.

    What is valued is what would be evaluated: points are snapped before and after they climb. If nothing is
    unseen among the candidates of a finite space a random point is returned, if need be one in `seen`.

    Args:
        value: to be maximized, (m, d) -> (m,).
        space: what is searched.
        leaders: the best points known, at least one.
        seen: snapped points that are known or pending.
        generator: of the starting points.
    """
    x = np.array(_starts(space, leaders, generator))
    worth = _worth(value, x)
    climbing: list[int] = []
    for i in np.argsort(-worth, kind="stable"):
        if len(climbing) < CLIMBS and all(np.linalg.norm(x[i] - x[j]) > APART for j in climbing):
            climbing.append(int(i))
    top = [point for row in ascend(value, x[climbing]).tolist() if space.feasible(point := tuple(row))]
    if top:
        summits = np.array([space.snap(point) for point in top])
        x, worth = np.concatenate([summits, x]), np.concatenate([_worth(value, summits), worth])
    ranked = (tuple(x[i].tolist()) for i in np.argsort(-worth, kind="stable"))
    best = next((point for point in ranked if point not in seen), None)
    if best is None:
        return fresh(space, seen, generator)
    if seen and np.linalg.norm(np.array(list(seen)) - best, axis=1).min() < SAME:
        aside = np.array(leaders[0]) + ASIDE * generator.standard_normal(space.dimension)
        beside = space.snap(tuple(np.clip(aside, 0, 1).tolist()))
        if space.feasible(beside) and beside not in seen:
            return beside
    return best


def _starts(space: SearchSpace, leaders: Sequence[Point], generator: np.random.Generator) -> list[Point]:
    """Feasible points, snapped, each once: some everywhere, some around the leaders."""
    rows = [generator.random((SAMPLES, space.dimension))]
    for scale in SCALES:
        centers = np.array([leaders[i % len(leaders)] for i in range(AROUND)])
        rows.append(np.clip(centers + scale * generator.standard_normal(centers.shape), 0, 1))
    points = (tuple(row) for row in np.concatenate(rows).tolist())
    snapped = [space.snap(point) for point in points if space.feasible(point)]
    return list(dict.fromkeys(snapped or space.sample(generator, CLIMBS)))


def _worth(value: Value, x: Array) -> Array:
    with torch.no_grad(), exact():
        return np.asarray(value(torch.from_numpy(x)))


def ascend(value: Value, starts: Array) -> Array:
    """Return where L-BFGS-B ends within the unit cube from each start: (m, d) from (m, d).

    All starts climb at once: their sum has the gradient of each.
    """

    def negative(flat: Array) -> tuple[float, Array]:
        x = torch.from_numpy(flat.reshape(starts.shape).copy()).requires_grad_()
        total = value(x).sum()
        (gradient,) = torch.autograd.grad(total, x)
        return -float(total.detach()), -torch.nan_to_num(gradient).numpy().ravel()

    with exact():
        found = minimize(
            negative,
            starts.ravel(),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, 1.0)] * starts.size,
            options={"maxiter": 60},
        )
    return np.clip(found.x.reshape(starts.shape), 0.0, 1.0)
