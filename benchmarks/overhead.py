"""What one round of each algorithm costs the master: seconds for the tell and the ask of a sweep.

    OMP_NUM_THREADS=2 python benchmarks/overhead.py

The study is an Ackley function in 5-D, in batches of 8; the slowest round shortly before 50, 100, 200
observations is shown. The yardsticks are measured in the same run: one fit of the Gaussian process to as many
points, and one Cholesky factorization of that size. The goal is less than 3 seconds at 200 observations.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from jobs.synthetic import FUNCTIONS
from orchestrator import surrogate
from orchestrator.algorithms import ALGORITHMS, create
from orchestrator.algorithms.tree import Tree
from orchestrator.space import Float, SearchSpace
from orchestrator.trial import Observation

SIZES = (50, 100, 200)
FUNCTION = FUNCTIONS["ackley5"]
SPACE = SearchSpace({name: Float(*side) for name, side in zip(FUNCTION.names, FUNCTION.bounds, strict=True)})
VARIANTS = [*((name, {}) for name in ALGORITHMS), ("bamsoo", {"beta": 0.3})]


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


def large_tree(nodes: int = 100_000) -> float:
    """Seconds to find the best open leaf at every depth of a tree of so many nodes."""
    tree = Tree(SPACE.dimension, SPACE.divisible)
    generator = np.random.default_rng(0)
    node = 0
    while len(tree) < nodes:
        children = tree.expand(node)
        tree.score[children.start :] = generator.random(len(children))
        leaves = generator.integers(0, len(tree), 64)  # deeper than a sweep would build: the worst case
        node = int(max((leaf for leaf in leaves if tree.leaf[leaf]), key=lambda leaf: tree.score[leaf]))
    deepest = int(tree.depth.max())
    return median(lambda: [tree.best(depth) for depth in range(deepest + 1)])


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
    print(f"best open leaf at every depth of a tree of 100,000 nodes: {1000 * large_tree():.1f} ms")


if __name__ == "__main__":
    main()
