"""SMAC as a peer: its facade for hyperparameter optimization (random forest), asked and told.

It knows which trials run, and asks several from one model without modelling what is pending: a batch is the
best, second best, … of its acquisition. A failure is told as StatusType.CRASHED with the worst cost known
so far, as its own default, +∞, makes its model fail ("Input y contains NaN", smac 2.4.1).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ConfigSpace
import numpy as np
from smac import HyperparameterOptimizationFacade, Scenario
from smac.runhistory.dataclasses import TrialValue
from smac.runhistory.enumerations import StatusType

from benchmarks.searchers import Setting
from orchestrator.algorithms import Observation
from orchestrator.contract.assignment import Configuration
from orchestrator.space.space import Choice, Float, Parameter


class SMAC:
    def __init__(self, setting: Setting) -> None:
        space = ConfigSpace.ConfigurationSpace(seed=setting.seed)
        space.add([_hyperparameter(name, p) for name, p in setting.space.parameters.items()])
        self._directory = tempfile.TemporaryDirectory()
        scenario = Scenario(
            space,
            output_directory=Path(self._directory.name),
            deterministic=True,
            n_trials=setting.budget,
            seed=setting.seed,
        )
        self._facade = HyperparameterOptimizationFacade(
            scenario, _never_called, overwrite=True, logging_level=False
        )
        self._fixed, self._left = setting.space.fixed, setting.budget
        self._trials: list[Any] = []
        self._costs: list[float] = []
        self._crashed: list[Any] = []  # not told yet: running to it, until some cost is known

    def ask(self, limit: int) -> list[Configuration]:
        trials = [self._facade.ask() for _ in range(min(limit, self._left))]
        self._left -= len(trials)
        self._trials += trials
        return [{**self._fixed, **_plain(trial.config)} for trial in trials]

    def tell(self, observations: Sequence[Observation]) -> None:
        for o in observations:
            if o.score is None:
                self._crashed.append(self._trials[o.id])
            else:
                self._costs.append(-o.score)
                self._facade.tell(self._trials[o.id], TrialValue(cost=-o.score))
        if self._costs:
            for trial in self._crashed:
                self._facade.tell(trial, TrialValue(cost=max(self._costs), status=StatusType.CRASHED))
            self._crashed = []


def _hyperparameter(name: str, parameter: Parameter) -> Any:
    if isinstance(parameter, Choice):
        return ConfigSpace.CategoricalHyperparameter(name, list(parameter.options))
    kind = (
        ConfigSpace.UniformFloatHyperparameter
        if isinstance(parameter, Float)
        else ConfigSpace.UniformIntegerHyperparameter
    )
    return kind(name, parameter.low, parameter.high, log=parameter.log)


def _plain(configuration: Any) -> Configuration:
    values = dict(configuration).items()
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values}


def _never_called(config: Any, seed: int = 0) -> float:  # noqa: ARG001  # SMAC looks at the signature
    raise AssertionError("trials are scored outside")
