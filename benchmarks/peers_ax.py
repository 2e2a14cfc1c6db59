"""Ax as a peer: its Client with the generation strategy it chooses itself, asked for whole batches.

It models running trials as pending. A failure is told by `mark_trial_failed`; a known standard error goes
with the score, as (mean, SEM).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.exceptions.core import DataRequiredError
from ax.utils.common.logger import set_stderr_log_level

from benchmarks.searchers import Setting
from orchestrator.algorithms import Observation
from orchestrator.contract.assignment import Configuration
from orchestrator.space.space import Choice, Float, Parameter


class Ax:
    def __init__(self, setting: Setting) -> None:
        set_stderr_log_level(logging.ERROR)
        self._client = Client(random_seed=setting.seed)
        self._client.configure_experiment([_config(n, p) for n, p in setting.space.parameters.items()])
        self._client.configure_optimization("score")
        self._fixed, self._left = setting.space.fixed, setting.budget
        self._indices: list[int] = []

    def ask(self, limit: int) -> list[Configuration]:
        if not self._left:
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                trials = self._client.get_next_trials(min(limit, self._left))
            except DataRequiredError:  # its first design is out, and too little of it has come back
                return []
        self._left -= len(trials)
        self._indices += trials
        return [{**self._fixed, **configuration} for configuration in trials.values()]

    def tell(self, observations: Sequence[Observation]) -> None:
        for o in observations:
            if o.score is None:
                self._client.mark_trial_failed(self._indices[o.id])
            else:
                score: Any = o.score if o.stderr is None else (o.score, o.stderr)
                self._client.complete_trial(self._indices[o.id], {"score": score})


def _config(name: str, parameter: Parameter) -> Any:
    if isinstance(parameter, Choice):
        return ChoiceParameterConfig(name, list(parameter.options), parameter_type="str", is_ordered=False)
    kind = "float" if isinstance(parameter, Float) else "int"
    scaling = "log" if parameter.log else "linear"
    return RangeParameterConfig(name, (parameter.low, parameter.high), parameter_type=kind, scaling=scaling)
