"""Functions with known minima, in natural units, all MINIMIZED: what a search is measured on without a model.

sin1, sin2   Munos 2011, "Optimistic optimization of a deterministic function …", §6: maximized there, so
             negated here; sin2 is the product of two of them
peaks        the surface MATLAB ships under that name, negated: its highest peak is sought
the others   Surjanovic & Bingham, Virtual Library of Simulation Experiments; Ackley shifted off the centre of
             its box, where every method that starts there would find it at once
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Function:
    """A function to minimize over a box.

    Attributes:
        name: its key in `FUNCTIONS`.
        bounds: (low, high) of each of the d axes.
        minimum: its least value in the box.
        where: (d,) a point that attains it (to the digits given; there may be others).
        formula: (d,) -> value.
    """

    name: str
    bounds: tuple[tuple[float, float], ...]
    minimum: float
    where: tuple[float, ...]
    formula: Callable[[Array], float]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the axes as parameters of a study."""
        return tuple(f"x{axis}" for axis in range(len(self.bounds)))

    def __call__(self, x: Sequence[float]) -> float:
        """Value at `x`: (d,) in natural units.

        Raises:
            ValueError: `x` has another number of coordinates.
        """
        if len(x) != len(self.bounds):
            raise ValueError(f"{self.name} takes {len(self.bounds)} coordinates, got {len(x)}")
        return float(self.formula(np.asarray(x, dtype=np.float64)))


def _two_sines(x: float) -> float:
    return (math.sin(13 * x) * math.sin(27 * x) + 1) / 2


def _branin(x: Array) -> float:
    u, v = x
    valley = v - 5.1 / (4 * math.pi**2) * u**2 + 5 / math.pi * u - 6
    return float(valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(u) + 10)


def _rosenbrock(x: Array) -> float:
    return float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))


def _peaks(x: Array) -> float:
    u, v = (float(coordinate) for coordinate in x)
    return (
        math.exp(-((u + 1) ** 2) - v**2) / 3
        + 10 * (u / 5 - u**3 - v**5) * math.exp(-(u**2) - v**2)
        - 3 * (1 - u) ** 2 * math.exp(-(u**2) - (v + 1) ** 2)
    )


_HARTMANN_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_HARTMANN3_A = np.array([[3.0, 10, 30], [0.1, 10, 35], [3.0, 10, 30], [0.1, 10, 35]])
_HARTMANN3_P = 1e-4 * np.array(
    [[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]]
)
_HARTMANN6_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_HARTMANN6_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def _hartmann(a: Array, p: Array) -> Callable[[Array], float]:
    return lambda x: float(-_HARTMANN_ALPHA @ np.exp(-np.sum(a * (x - p) ** 2, axis=1)))


_SHEKEL_BETA = np.array([1, 2, 2, 4, 4]) / 10
_SHEKEL_C = np.array([[4.0] * 4, [1.0] * 4, [8.0] * 4, [6.0] * 4, [3.0, 7.0, 3.0, 7.0]])


def _shekel5(x: Array) -> float:
    return float(-np.sum(1 / (np.sum((x - _SHEKEL_C) ** 2, axis=1) + _SHEKEL_BETA)))


_ACKLEY_SHIFT = (3.1, -7.4, 12.2, -1.7, 5.5)


def _ackley5(x: Array) -> float:
    z = x - np.asarray(_ACKLEY_SHIFT)
    far = -20 * math.exp(-0.2 * math.sqrt(float(np.mean(z**2))))
    return far - math.exp(float(np.mean(np.cos(2 * math.pi * z)))) + 20 + math.e


_UNIT = (0.0, 1.0)
_SIN_MAX, _SIN_WHERE = 0.975599143811575, 0.867526208
FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        Function("sin1", (_UNIT,), -_SIN_MAX, (_SIN_WHERE,), lambda x: -_two_sines(x[0])),
        Function(
            "sin2",
            (_UNIT,) * 2,
            -(_SIN_MAX**2),
            (_SIN_WHERE,) * 2,
            lambda x: -_two_sines(x[0]) * _two_sines(x[1]),
        ),
        Function("branin", ((-5.0, 10.0), (0.0, 15.0)), 0.3978873577297383, (math.pi, 2.275), _branin),
        Function("rosenbrock2", ((-5.0, 10.0),) * 2, 0.0, (1.0, 1.0), _rosenbrock),
        Function("peaks", ((-3.0, 3.0),) * 2, -8.106213589442096, (-0.009317581, 1.581368007), _peaks),
        Function(
            "hartmann3",
            (_UNIT,) * 3,
            -3.862779787332663,
            (0.114588881, 0.555648895, 0.852546984),
            _hartmann(_HARTMANN3_A, _HARTMANN3_P),
        ),
        Function(
            "hartmann6",
            (_UNIT,) * 6,
            -3.3223680114155147,
            (0.201689509, 0.150010694, 0.476873973, 0.275332428, 0.311651617, 0.657300535),
            _hartmann(_HARTMANN6_A, _HARTMANN6_P),
        ),
        Function(
            "shekel5",
            ((0.0, 10.0),) * 4,
            -10.153199679058229,
            (4.000037152, 4.000133279, 4.000037151, 4.000133277),
            _shekel5,
        ),
        Function("ackley5", ((-32.768, 32.768),) * 5, 0.0, _ACKLEY_SHIFT, _ackley5),
    )
}
