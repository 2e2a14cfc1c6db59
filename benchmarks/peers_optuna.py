"""Optuna as a peer: its TPE sampler (multivariate, constant liar) and its Gaussian-process sampler.

Both are asked trial by trial and know of the running ones. A failure is told as TrialState.FAIL.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import optuna

from benchmarks.searchers import Setting
from orchestrator.algorithms import Observation
from orchestrator.contract.assignment import Configuration
from orchestrator.space.space import Choice, Parameter


class _Optuna:
    def __init__(self, setting: Setting, sampler: Any) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._parameters = {name: _distribution(p) for name, p in setting.space.parameters.items()}
        self._fixed = setting.space.fixed
        self._left = setting.budget

    def ask(self, limit: int) -> list[Configuration]:
        size = min(limit, self._left)
        self._left -= size
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [{**self._fixed, **self._study.ask(self._parameters).params} for _ in range(size)]

    def tell(self, observations: Sequence[Observation]) -> None:
        for o in observations:
            if o.score is None:
                self._study.tell(o.id, state=optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(o.id, o.score)


def _distribution(parameter: Parameter) -> Any:
    distributions = optuna.distributions
    if isinstance(parameter, Choice):
        return distributions.CategoricalDistribution(parameter.options)
    kind = "Float" if isinstance(parameter.low, float) else "Int"
    return getattr(distributions, f"{kind}Distribution")(parameter.low, parameter.high, log=parameter.log)


class TPE(_Optuna):
    def __init__(self, setting: Setting) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "experimental"
            sampler = optuna.samplers.TPESampler(seed=setting.seed, multivariate=True, constant_liar=True)
        super().__init__(setting, sampler)


class GP(_Optuna):
    def __init__(self, setting: Setting) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = optuna.samplers.GPSampler(seed=setting.seed)
        super().__init__(setting, sampler)
