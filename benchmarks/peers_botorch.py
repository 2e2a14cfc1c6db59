"""qLogEI as BoTorch's tutorials write it: the reference a search of this project has to beat.

A Latin hypercube of 10, then SingleTaskGP with every default (its own noise, standardized scores),
qLogExpectedImprovement over 256 Sobol samples, optimize_acqf sequentially greedy with 10 restarts from 512
raw samples, pending points in X_pending. Integers and choices are a continuous cube to it, decoded outside.
Failed points are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from botorch.acquisition.logei import qLogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.sampling import manual_seed
from gpytorch.mlls import ExactMarginalLogLikelihood
from scipy.stats import qmc

from benchmarks.searchers import Setting
from orchestrator.algorithms import Observation
from orchestrator.contract.assignment import Configuration

N_INIT = 10


class QLogEI:
    def __init__(self, setting: Setting) -> None:
        self._space, self._seed = setting.space, setting.seed
        rng = np.random.default_rng(setting.seed)
        design = qmc.LatinHypercube(setting.space.dimension, rng=rng).random(min(N_INIT, setting.budget))
        self._design: list[list[float]] = design.tolist()
        self._rng = rng
        self._points: list[list[float]] = []
        self._told: dict[int, float | None] = {}

    def ask(self, limit: int) -> list[Configuration]:
        batch, self._design = self._design[:limit], self._design[limit:]
        pending = [point for id_, point in enumerate(self._points) if id_ not in self._told] + batch
        if len(batch) < limit:
            batch = batch + self._model_points(limit - len(batch), pending)
        self._points += batch
        return [self._space.decode(tuple(point)) for point in batch]

    def tell(self, observations: Sequence[Observation]) -> None:
        self._told.update((o.id, o.score) for o in observations)

    def _model_points(self, size: int, pending: list[list[float]]) -> list[list[float]]:
        scored = [
            (self._points[id_], score) for id_, score in sorted(self._told.items()) if score is not None
        ]
        d = self._space.dimension
        if len(scored) < 2:
            uniform: list[list[float]] = self._rng.random((size, d)).tolist()
            return uniform
        x = torch.tensor([point for point, _ in scored], dtype=torch.float64)
        y = torch.tensor([[score] for _, score in scored], dtype=torch.float64)
        seed = self._seed * 100_000 + len(self._points)
        with manual_seed(seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = SingleTaskGP(x, y)
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            acquisition = qLogExpectedImprovement(
                model,
                best_f=y.max(),
                sampler=SobolQMCNormalSampler(torch.Size([256]), seed=seed),
                X_pending=torch.tensor(pending, dtype=torch.float64) if pending else None,
            )
            candidates, _ = optimize_acqf(
                acquisition,
                bounds=torch.tensor([[0.0] * d, [1.0] * d], dtype=torch.float64),
                q=size,
                num_restarts=10,
                raw_samples=512,
                sequential=True,
                options={"batch_limit": 5, "maxiter": 200},
            )
        points: list[list[float]] = candidates.tolist()
        return points
