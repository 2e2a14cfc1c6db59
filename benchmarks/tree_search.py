"""How far from the minimum SOO and BaMSOO end, on the six functions they were compared on from the beginning.

    OMP_NUM_THREADS=1 python benchmarks/tree_search.py

Neither has any randomness, so one run is the whole measurement: errors after 50 and after 100 evaluations,
and how many rounds the 100 took.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from orchestrator.algorithms import Observation, create
from orchestrator.contract.synthetic import FUNCTIONS, Function
from orchestrator.space import SearchSpace
from orchestrator.space.space import Float

NAMES = ("branin", "peaks", "rosenbrock2", "hartmann3", "shekel5", "hartmann6")
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("soo", {}),
    ("soo", {"h_max": "sqrt"}),
    ("bamsoo", {}),
    ("bamsoo", {"beta": 0.3}),
    ("bamsoo", {"kernel": "rbf"}),
    ("bamsoo", {"h_max": "sqrt"}),
    ("bamsoo", {"rule": "imgpo"}),
)


def study(name: str, options: dict[str, Any], function: Function) -> tuple[list[float], int]:
    """Return the value of each of 100 evaluations, and the number of rounds."""
    space = SearchSpace({n: Float(*side) for n, side in zip(function.names, function.bounds, strict=True)})
    algorithm = create(name, space, seed=0, budget=100, capacity=100, **options)
    values: list[float] = []
    rounds = 0
    while batch := algorithm.ask(100):
        new = [function([float(v) for v in space.decode(s.point).values()]) for s in batch]
        algorithm.tell([Observation(s.id, -value) for s, value in zip(batch, new, strict=True)])
        values += new
        rounds += 1
    return values, rounds


def main() -> None:
    for name, options in VARIANTS:
        print(" ".join([name, *(f"{key}={value}" for key, value in options.items())]))
        for key in NAMES:
            start = time.perf_counter()
            values, rounds = study(name, options, FUNCTIONS[key])
            error = np.minimum.accumulate(values) - FUNCTIONS[key].minimum
            seconds = time.perf_counter() - start
            print(f"  {key:12}{error[49]:10.1e}{error[99]:10.1e}{rounds:5} rounds{seconds:7.1f} s")


if __name__ == "__main__":
    main()
