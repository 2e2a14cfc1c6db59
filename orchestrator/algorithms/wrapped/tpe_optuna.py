"""Optuna's TPE sampler as a function: what is known and a seed in, points out.

A study is made in memory for the call and thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from orchestrator.contract.assignment import Value
from orchestrator.space import Point, SearchSpace
from orchestrator.space.space import Float, Int, Parameter


def draw(
    space: SearchSpace,
    history: Sequence[tuple[Point, float | None]],
    count: int,
    *,
    seed: int,
    n_init: int,
) -> list[Point]:
    """Ask Optuna for `count` points.

    Args:
        space: its constraints are not looked at.
        history: points with their scores, None while pending, oldest first.
        count: of points, each drawn with the earlier ones pending.
        seed: in 0..2³² − 1.
        n_init: with fewer scores than that the draws are uniform.
    """
    axes = {name: _distribution(parameter) for name, parameter in space.parameters.items()}
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=n_init, seed=seed, multivariate=True, constant_liar=True
    )
    with _quiet():
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(
            optuna.create_trial(
                state=TrialState.RUNNING if score is None else TrialState.COMPLETE,
                value=score,
                params={
                    name: _told(parameter, unit)
                    for (name, parameter), unit in zip(space.parameters.items(), point, strict=True)
                },
                distributions=axes,
            )
            for point, score in history
        )
        drawn = [study.ask(axes).params for _ in range(count)]
    return [tuple(_unit(p, params[name]) for name, p in space.parameters.items()) for params in drawn]


def _distribution(parameter: Parameter) -> BaseDistribution:
    """What Optuna has to know of an axis: floats stay in the unit cube, the rest is discrete."""
    if isinstance(parameter, Float):
        return FloatDistribution(0.0, 1.0)
    if isinstance(parameter, Int):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log)
    return CategoricalDistribution(range(len(parameter.options)))  # by position: 1 and True are two options


def _told(parameter: Parameter, unit: float) -> Value:
    if isinstance(parameter, Float):
        return unit
    value = parameter.decode(unit)
    return value if isinstance(parameter, Int) else parameter.position(value)


def _unit(parameter: Parameter, value: Any) -> float:
    if isinstance(parameter, Float):
        return float(value)
    return parameter.encode(value if isinstance(parameter, Int) else parameter.options[value])


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna logs every study it makes; its level is the whole process's, so it is put back."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
