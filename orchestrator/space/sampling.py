"""Random points and Latin hypercubes, all of whose points are feasible: no constraint is broken."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection

import numpy as np
from scipy.stats import qmc

from orchestrator.space.parameter import Float, Point
from orchestrator.space.space import SearchSpace

MOST = 2**17  # points drawn in search of feasible ones
TRIES = 1000  # points drawn in search of one that is new


def latin_hypercube(space: SearchSpace, size: int, generator: np.random.Generator) -> list[Point]:
    """Return `size` feasible points, each (d,): a Latin hypercube (McKay, Beckman & Conover 1979).

    Where constraints exclude some of its points, hypercubes of twice the size are drawn until enough feasible
    points are left. If even `MOST` points do not suffice, uniformly distributed points are added.
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
    """Return `size` points, each (d,): of 30 random Latin hypercubes the one with the most distant points.

    It has the greatest minimum of the Euclidean distances between two points (Johnson, Moore & Ylvisaker
    1990). Distances to `center` count too, but `center` is not among the points returned.
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
    """Return a random feasible point, snapped, that is not in `seen`; the last of `TRIES` if all are."""
    for _ in range(TRIES):
        point = space.snap(space.sample(generator, 1)[0])
        if point not in seen:
            break
    return point


def listing(space: SearchSpace, most: int = 100_000) -> list[Point] | None:
    """Return the snapped points of all feasible configurations.

    None if there are more than `most` to look at, conditions and constraints aside.
    """
    axes = []
    for parameter in space.parameters.values():
        if isinstance(parameter, Float):
            return None
        axes.append([parameter.encode(value) for value in parameter.values])
    if math.prod(map(len, axes)) > most:
        return None
    feasible = filter(space.feasible, itertools.product(*axes))
    return list(dict.fromkeys(map(space.snap, feasible)))
