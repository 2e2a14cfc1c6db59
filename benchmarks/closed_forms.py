"""Functions with known minima that `jobs/synthetic.py` lacks, in natural units, all MINIMIZED.

A search tuned on the public set is measured here as well. Forms after Surjanovic & Bingham, Virtual Library
of Simulation Experiments; shifted where the least value lies at the centre of the box, and Goldstein–Price by
its logarithm, its range being a million. quadratic6 is ours: curvatures from 1 to 1,000, turned by two
reflections so that no axis of the box is one of its own.
"""

from __future__ import annotations

import math

import numpy as np

from orchestrator.contract.synthetic import FUNCTIONS as PUBLIC
from orchestrator.contract.synthetic import Array, Function


def _levy(x: Array) -> float:
    w = 1 + (x - 1) / 4
    inner = np.sum((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2))
    last = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return float(math.sin(math.pi * w[0]) ** 2 + inner + last)


_GRIEWANK_SHIFT = (13.7, -21.3, 38.9)


def _griewank3(x: Array) -> float:
    z = x - np.asarray(_GRIEWANK_SHIFT)
    waves = np.prod(np.cos(z / np.sqrt(np.arange(1, len(z) + 1))))
    return float(np.sum(z**2) / 4000 - waves + 1)


def _styblinski_tang(x: Array) -> float:
    return float(np.sum(x**4 - 16 * x**2 + 5 * x) / 2)


def _michalewicz(x: Array) -> float:
    axis = np.arange(1, len(x) + 1)
    return float(-np.sum(np.sin(x) * np.sin(axis * x**2 / math.pi) ** 20))


def _log_goldstein_price(x: Array) -> float:
    u, v = (float(coordinate) for coordinate in x)
    first = 19 - 14 * u + 3 * u**2 - 14 * v + 6 * u * v + 3 * v**2
    second = 18 - 32 * u + 12 * u**2 + 48 * v - 36 * u * v + 27 * v**2
    return math.log((1 + (u + v + 1) ** 2 * first) * (30 + (2 * u - 3 * v) ** 2 * second))


_RASTRIGIN_SHIFT = (1.3, -2.1, 0.7)


def _rastrigin3(x: Array) -> float:
    z = x - np.asarray(_RASTRIGIN_SHIFT)
    return float(10 * len(z) + np.sum(z**2 - 10 * np.cos(2 * math.pi * z)))


def _reflection(normal: tuple[float, ...]) -> Array:
    v = np.asarray(normal)
    return np.asarray(np.eye(len(v)) - 2 * np.outer(v, v) / (v @ v))


_QUADRATIC_CENTER = (0.31, -0.42, 0.17, 0.58, -0.23, -0.64)
_QUADRATIC_AXES = np.logspace(0, 3, 6)
_QUADRATIC_TURN = _reflection((1, 2, 3, 4, 5, 6)) @ _reflection((2, -1, 1, 3, -2, 1))


def _quadratic6(x: Array) -> float:
    z = _QUADRATIC_TURN @ (x - np.asarray(_QUADRATIC_CENTER))
    return float(_QUADRATIC_AXES @ z**2)


def _zakharov(x: Array) -> float:
    slope = float(np.arange(1, len(x) + 1) @ x) / 2
    return float(np.sum(x**2)) + slope**2 + slope**4


_ACKLEY_SHIFT = (3.1, -7.4, 12.2, -1.7, 5.5, -11.3, 8.6, -4.9, 1.2, -15.8)


def _ackley10(x: Array) -> float:
    z = x - np.asarray(_ACKLEY_SHIFT)
    far = -20 * math.exp(-0.2 * math.sqrt(float(np.mean(z**2))))
    return far - math.exp(float(np.mean(np.cos(2 * math.pi * z)))) + 20 + math.e


_STYBLINSKI_WHERE = -2.903534027771178
_MICHALEWICZ_WHERE = (2.2029055201698, 1.5707963267949, 1.2849915705502)
FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        Function("levy4", ((-10.0, 10.0),) * 4, 0.0, (1.0,) * 4, _levy),
        Function("griewank3", ((-100.0, 100.0),) * 3, 0.0, _GRIEWANK_SHIFT, _griewank3),
        Function(
            "styblinski4", ((-5.0, 5.0),) * 4, -156.6646628150857, (_STYBLINSKI_WHERE,) * 4, _styblinski_tang
        ),
        Function("michalewicz3", ((0.0, math.pi),) * 3, -2.76039467999456, _MICHALEWICZ_WHERE, _michalewicz),
        Function("goldstein2", ((-2.0, 2.0),) * 2, math.log(3), (0.0, -1.0), _log_goldstein_price),
        Function("rastrigin3", ((-5.12, 5.12),) * 3, 0.0, _RASTRIGIN_SHIFT, _rastrigin3),
        Function("quadratic6", ((-1.0, 1.0),) * 6, 0.0, _QUADRATIC_CENTER, _quadratic6),
        Function("zakharov5", ((-5.0, 10.0),) * 5, 0.0, (0.0,) * 5, _zakharov),
        Function("rosenbrock8", ((-5.0, 10.0),) * 8, 0.0, (1.0,) * 8, PUBLIC["rosenbrock2"].formula),
        Function("ackley10", ((-32.768, 32.768),) * 10, 0.0, _ACKLEY_SHIFT, _ackley10),
    )
}
