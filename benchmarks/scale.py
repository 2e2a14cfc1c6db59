"""Seconds and memory of one ask for 8 points when n observations are known, in 6-D.

    OMP_NUM_THREADS=2 python benchmarks/scale.py [NAME …]

Each case runs in a process of its own: `learn` hands it n scores of Hartmann6 at random points, it plays
its own start, and the next full ask is measured, the tell before it and the model's fit included. Goals:
less than 3 s up to n = 200, 10 s at 1,000, 60 s at 5,000, and less than 1 GB. The yardstick, in the same
process, is one Cholesky factorization of an n × n matrix.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

# Run as a script, its own package is not on the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.problems import problem
from orchestrator.algorithms import ALGORITHMS, KnownScore, Observation, create

SIZES = (50, 200, 1000, 5000)
BATCH = 8
MODELS = tuple(name for name, entry in ALGORITHMS.items() if entry.learns)


def measure(name: str, n: int) -> dict[str, float]:
    """Play a start of two batches or more, and return seconds of the ask after it, and peak memory in MB."""
    task = problem("hartmann6", 0)
    algorithm = create(name, task.space, seed=0, budget=6 * BATCH, capacity=BATCH)
    points = [tuple(row) for row in np.random.default_rng(0).random((n, 6)).tolist()]
    values = task.values([task.space.decode(point) for point in points])
    algorithm.learn([KnownScore(point, -v) for point, v in zip(points, values, strict=True) if v is not None])
    asked, seconds, batch = 0, 0.0, algorithm.ask(BATCH)
    while batch and asked < 3 * BATCH:
        asked += len(batch)
        scores = [task.evaluate(task.space.decode(s.point), seed=0, trial=s.id)[0] for s in batch]
        start = time.perf_counter()
        algorithm.tell([Observation(s.id, score) for s, score in zip(batch, scores, strict=True)])
        batch = algorithm.ask(BATCH)
        seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    x = np.array(points)
    gram = np.exp(-np.square(x[:, None] - x[None]).sum(-1)) + 1e-3 * np.eye(n) if n <= 2000 else np.eye(n)
    start = time.perf_counter()
    np.linalg.cholesky(gram)
    return {"seconds": seconds, "MB": memory, "ratio": seconds / (time.perf_counter() - start)}


def main() -> None:
    names = sys.argv[1:] or MODELS
    print(f"{'':12}" + "".join(f"{f'n = {n}':>26}" for n in SIZES))
    for name in names:
        print(f"{name:12}", end="", flush=True)
        for n in SIZES:
            run = subprocess.run(
                [sys.executable, __file__, "--one", name, str(n)], capture_output=True, text=True, check=False
            )
            if run.returncode:
                print(f"{'failed':>26}", end="", flush=True)
                continue
            found = json.loads(run.stdout.splitlines()[-1])
            text = f"{found['seconds']:.2f} s {found['MB']:.0f} MB ×{found['ratio']:.0f}"
            print(f"{text:>26}", end="", flush=True)
        print()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
    else:
        main()
