"""Random points and Latin hypercubes that are feasible everywhere."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from scipy.stats import qmc

from orchestrator.space.parameter import Point
from orchestrator.space.space import SearchSpace

MOST = 2**17  # points drawn in search of feasible ones
TRIES = 1000  # … and of new ones


def latin_hypercube(space: SearchSpace, size: int, generator: np.random.Generator) -> list[Point]:
    """Return `size` feasible points, a Latin hypercube (McKay, Beckman & Conover 1979).

    Where constraints refuse some, hypercubes of twice the size are drawn until enough are left; the rest of a
    very narrow space is uniform.
    """
    drawn = max(size, 1)
    while drawn <= max(MOST, size):
        rows = qmc.LatinHypercube(space.dimension, rng=generator).random(drawn)
        points = [point for row in rows if space.feasible(point := tuple(row.tolist()))]
        if len(points) >= size:
            return points[:size]
        drawn *= 2
    return points + space.sample(generator, size - len(points))


def maximin(space: SearchSpace, center: Point, size: int, generator: np.random.Generator) -> list[Point]:
    """Return `size` points: of 30 Latin hypercubes the one of greatest least distance, `center` included.

    Johnson, Moore & Ylvisaker 1990. The center itself is not among the points returned.
    """
    best: list[Point] = []
    widest = -1.0
    for _ in range(30):
        design = latin_hypercube(space, size, generator)
        x = np.array([center, *design])
        distances = np.linalg.norm(x[:, None] - x[None], axis=-1)
        least = float(distances[np.triu_indices(len(x), 1)].min()) if size else 0.0
        if least > widest:
            best, widest = design, least
    return best


def fresh(space: SearchSpace, seen: Collection[Point], generator: np.random.Generator) -> Point:
    """Return a random point, snapped, that is not in `seen`; or after `TRIES` of them, whatever came last."""
    for _ in range(TRIES):
        point = space.snap(space.sample(generator, 1)[0])
        if point not in seen:
            break
    return point
