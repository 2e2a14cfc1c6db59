from __future__ import annotations

import numpy as np

from orchestrator.algorithms import create
from orchestrator.space import Float, SearchSpace
from tests.algorithms.playing import play

SPACE = SearchSpace({name: Float(0, 1) for name in "abc"})


def points(name: str, seed: int, budget: int, limit: int = 7) -> np.ndarray:
    algorithm = create(name, SPACE, seed=seed, budget=budget, capacity=8)
    return np.array(play(algorithm, lambda s: 0.0, limit=limit).points)


def test_lhs_is_one_latin_hypercube_of_the_budget() -> None:
    strata = np.sort(np.floor(points("lhs", 3, 20) * 20), axis=0)
    assert np.array_equal(strata, np.tile(np.arange(20.0)[:, None], (1, 3)))


def test_random_is_the_generators_own_sequence() -> None:
    assert np.array_equal(points("random", 3, 20), np.random.default_rng(3).random((20, 3)))
