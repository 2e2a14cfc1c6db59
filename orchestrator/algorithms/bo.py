"""Bayesian optimization as it is published by default: a Gaussian process and log expected improvement.

One Latin hypercube of `n_init` points; then, whenever everything planned is told, a round of `batch`
points, each the maximum of the acquisition given those already chosen: log EI where nothing is pending, so
that a batch of one is the sequential search; Monte Carlo qLogEI with the pending points otherwise. Model,
priors, standardization and multi-start optimizer are BoTorch's defaults. Ours is only that integers and
choices are snapped before the model sees them, and that a configuration that was suggested before gives way
to a random one.

A failed evaluation is left out of the model, and beyond 400 scores a part of them (`surrogate.part`). With
standard errors the model knows the noise of each score, and the incumbent is the highest posterior mean at
an evaluated point; otherwise the best score.

Jones, Schonlau & Welch 1998 (EI); Ament, Daulton, Eriksson, Balandat & Bakshy 2023 (log EI, qLogEI); Balandat
et al. 2020 (BoTorch).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from botorch.acquisition import LogExpectedImprovement, qLogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.sampling import manual_seed
from gpytorch.mlls import ExactMarginalLogLikelihood

from orchestrator.algorithms.options import Kernel
from orchestrator.algorithms.planned import Planned
from orchestrator.algorithms.surrogate.process import MOST_FITTED, exact, known_variances, part, tensor
from orchestrator.space import Point, SearchSpace
from orchestrator.space.sampling import fresh, latin_hypercube

RESTARTS, RAW_SAMPLES, MC_SAMPLES = 10, 512, 128


class BO(Planned):
    """Nothing is kept but what was planned and told: each round draws from a generator of its own."""

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        budget: int,
        capacity: int,
        asynchronous: bool,
        batch: int | None,
        n_init: int,
        kernel: Kernel,
    ) -> None:
        super().__init__(space, seed=seed, budget=budget, capacity=capacity)
        self._asynchronous = asynchronous
        self._batch = capacity if batch is None else batch
        self._n_init = n_init
        self._kernel = kernel

    def _plan(self) -> None:
        generator = np.random.default_rng([self.seed, len(self._points)])
        size = self._n_init - len(self._known)  # what was learnt elsewhere is a design too
        if size > 0 and len(self._points) == len(self._enqueued):
            for point in latin_hypercube(self.space, size, generator):
                self._append(point, source="design")
            return
        if not (self._asynchronous or self._is_told):
            return
        waiting = len(self._points) - self._asked  # enqueued: it has places of this batch
        seen = {self.space.snap(point) for point in self._points}
        with exact(), manual_seed(int(generator.integers(2**31))), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a fit or a climb that ends early is good enough
            model = self._model()
            for _ in range(1 if self._asynchronous else self._batch - waiting):
                if len(seen) == self.space.cardinality:
                    return
                best = self._climbed(model, generator)
                climbed = best is not None and best not in seen and self.space.feasible(best)
                point = best if best is not None and climbed else fresh(self.space, seen, generator)
                seen.add(point)
                self._append(point, source="improvement" if climbed else "random")

    def _model(self) -> Any:
        """The fitted model; None if nothing has a score."""
        scored = self._scored()
        if not scored:
            return None
        kept = part(np.array([score for _, score, _ in scored]), MOST_FITTED)
        points, scores, stderrs = zip(*(scored[i] for i in kept), strict=True)
        y = torch.tensor(scores, dtype=torch.float64)
        unit = float(y.abs().max()) or 1.0  # divided out first, so that 1e300 has a square
        variances = known_variances(stderrs, unit)
        d = self.space.dimension
        model = SingleTaskGP(
            tensor(points, d),
            (y / unit).unsqueeze(-1),
            train_Yvar=None if variances is None else variances.unsqueeze(-1),
            covar_module=get_covar_module_with_dim_scaled_prior(d, use_rbf_kernel=self._kernel == "rbf"),
        )
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        return model

    def _climbed(self, model: Any, generator: np.random.Generator) -> Point | None:
        """The snapped maximum of the acquisition given what is pending; None without a model."""
        if model is None:
            return None
        d = self.space.dimension
        seed = int(generator.integers(2**31))
        with torch.no_grad():
            noisy = model.likelihood.noise.numel() > 1
            best = model.posterior(model.train_inputs[0]).mean if noisy else _scores(model)
        pending = [self.space.snap(p) for i, p in enumerate(self._points) if i not in self._told]
        acquisition: Any
        if pending:
            acquisition = qLogExpectedImprovement(
                model,
                best.max(),
                sampler=SobolQMCNormalSampler(torch.Size([MC_SAMPLES]), seed=seed),
                X_pending=tensor(pending, d),
            )
        else:
            acquisition = LogExpectedImprovement(model, best.max())
        found, _ = optimize_acqf(
            acquisition,
            torch.tensor([[0.0] * d, [1.0] * d], dtype=torch.float64),
            q=1,
            num_restarts=RESTARTS,
            raw_samples=RAW_SAMPLES,
            options={"seed": seed},
        )
        return self.space.snap(tuple(found[0].tolist()))


def _scores(model: Any) -> torch.Tensor:
    """The scores a model was fitted to, in their own units."""
    scores, _ = model.outcome_transform.untransform(model.train_targets.unsqueeze(-1))
    return torch.as_tensor(scores)
