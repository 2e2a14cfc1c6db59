"""What one round of each algorithm costs the master: seconds for the tell and the ask of a sweep.

    OMP_NUM_THREADS=2 python benchmarks/overhead.py

The study is an Ackley function in 5-D, in batches of 8; the slowest round shortly before 50, 100, 200
observations is shown. The yardsticks are measured in the same run: one fit of the Gaussian process to as many
points, and one Cholesky factorization of that size. More observations: `scale.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from orchestrator.algorithms import ALGORITHMS, Observation, create
from orchestrator.algorithms.surrogate import process as surrogate
from orchestrator.contract.synthetic import FUNCTIONS
from orchestrator.space import SearchSpace
from orchestrator.space.space import Float

SIZES = (50, 100, 200)
FUNCTION = FUNCTIONS["ackley5"]
SPACE = SearchSpace({name: Float(*side) for name, side in zip(FUNCTION.names, FUNCTION.bounds, strict=True)})
SLOW = ("bo", "mads")  # minutes to play; `scale.py` has their asks
VARIANTS = [*((name, {}) for name in ALGORITHMS if name not in SLOW), ("bamsoo", {"beta": 0.3})]


def rounds(name: str, options: dict[str, float]) -> list[tuple[int, float]]:
    """Play one study; return for each round the observations it was told and the seconds it took."""
    algorithm = create(name, SPACE, seed=0, budget=SIZES[-1] + 50, capacity=8, **options)
    taken = []
    told = 0
    batch = algorithm.ask(8)
    while batch and told < SIZES[-1]:
        values = [[float(v) for v in SPACE.decode(s.point).values()] for s in batch]
        observations = [Observation(s.id, -FUNCTION(x)) for s, x in zip(batch, values, strict=True)]
        told += len(batch)
        start = time.perf_counter()
        algorithm.tell(observations)
        batch = algorithm.ask(8)
        taken.append((told, time.perf_counter() - start))
    return taken


def slowest(taken: list[tuple[int, float]], size: int) -> float:
    """The longest of the rounds near `size`: a sweep spans several batches, and only the first decides it."""
    return max(seconds for told, seconds in taken if 0.85 * size <= told <= size + 8)


def median(work: Callable[[], object], repeats: int = 3) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[repeats // 2]


def yardsticks(size: int) -> tuple[float, float]:
    """Seconds of one fit and of one Cholesky factorization at `size` observations."""
    points = np.random.default_rng(0).random((size, SPACE.dimension))
    low, high = np.array(FUNCTION.bounds).T
    scores = [-FUNCTION((low + row * (high - low)).tolist()) for row in points]
    rows = [tuple(row) for row in points.tolist()]
    gram = np.exp(-np.square(points[:, None] - points[None]).sum(-1)) + 1e-3 * np.eye(size)
    return median(lambda: surrogate.fit(rows, scores)), median(lambda: np.linalg.cholesky(gram), 21)


def large_tree(nodes: int = 100_000) -> tuple[int, float, float, float]:
    """Play SOO until its tree has so many nodes.

    Returns:
        Deepest depth, and seconds of a whole sweep (tell and ask), of writing the state down, of loading it.
    """
    algorithm = create("soo", SPACE, seed=0, budget=nodes, capacity=8)
    told, taken = 0, []
    batch = algorithm.ask(nodes)
    while told < 2 * nodes / 3:  # two evaluations for three nodes
        told += len(batch)
        values = [[float(v) for v in SPACE.decode(s.point).values()] for s in batch]
        observations = [Observation(s.id, -FUNCTION(x)) for s, x in zip(batch, values, strict=True)]
        start = time.perf_counter()
        algorithm.tell(observations)
        batch = algorithm.ask(nodes)
        taken.append(time.perf_counter() - start)
    state = algorithm.dump()
    again = create("soo", SPACE, seed=0, budget=nodes, capacity=8)
    deepest = max(suggestion.note["depth"] for suggestion in batch)
    return deepest, max(taken[-5:]), median(algorithm.dump), median(lambda: again.load(state))


def main() -> None:
    surrogate.fit([(0.1,), (0.2,), (0.9,)], [1.0, 2.0, 3.0])  # torch warms up
    fits, factors = zip(*(yardsticks(size) for size in SIZES), strict=True)
    print(
        f"{'seconds at n =':24}"
        + "".join(f"{size:>10}" for size in SIZES)
        + "   ratio to one fit, last column"
    )
    print(f"{'one Cholesky':24}" + "".join(f"{seconds:10.5f}" for seconds in factors))
    print(f"{'one fit':24}" + "".join(f"{seconds:10.5f}" for seconds in fits))
    for name, options in VARIANTS:
        taken = rounds(name, options)
        label = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
        seconds = [slowest(taken, size) for size in SIZES]
        print(f"{label:24}" + "".join(f"{s:10.5f}" for s in seconds) + f"{seconds[-1] / fits[-1]:10.2f}")
    deepest, sweep, dump, load = large_tree()
    print(
        f"soo, 100,000 nodes, depth {deepest}: a sweep {1000 * sweep:.0f} ms (goal: 50), "
        f"dump {dump:.2f} s, load {load:.2f} s"
    )


if __name__ == "__main__":
    main()
