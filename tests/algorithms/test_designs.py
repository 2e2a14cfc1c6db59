from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import qmc

from orchestrator.algorithms import create
from orchestrator.errors import InputError
from orchestrator.space import SearchSpace
from orchestrator.space.sampling import latin_hypercube, maximin
from orchestrator.space.space import Choice, Float, Int
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


def test_sobol_is_scipys_sequence() -> None:
    sequence = qmc.Sobol(3, rng=np.random.default_rng(3)).random(32)
    assert np.array_equal(points("sobol", 3, 20), sequence[:20])


NARROW = SearchSpace({"a": Float(0, 1), "b": Float(0, 1)}, constraints=("a <= 0.1 * b",))


@pytest.mark.parametrize("name", ["lhs", "sobol", "random", "grid"])
def test_designs_spend_their_budget_on_what_is_feasible(name: str) -> None:
    algorithm = create(name, NARROW, seed=1, budget=40, capacity=8)
    asked = play(algorithm, lambda s: 0.0).points
    assert all(NARROW.feasible(point) for point in asked)
    assert len(asked) == 40


def test_a_constrained_hypercube_still_spreads() -> None:
    half = SearchSpace({"a": Float(0, 1), "b": Float(0, 1)}, constraints=("a <= b",))
    design = np.array(latin_hypercube(half, 40, np.random.default_rng(0)))
    assert (design[:, 0] <= design[:, 1]).all()
    assert len(np.unique(np.floor(design[:, 1] * 160))) == 40


def test_maximin_keeps_away_from_the_center_and_from_each_other() -> None:
    center = (0.5, 0.5, 0.5)

    def least(design: list[tuple[float, ...]]) -> float:
        x = np.array([center, *design])
        return float(min(np.linalg.norm(a - b) for i, a in enumerate(x) for b in x[:i]))

    widest = least(maximin(SPACE, center, 7, np.random.default_rng(0)))
    single = [least(latin_hypercube(SPACE, 7, np.random.default_rng(seed))) for seed in range(20)]
    assert widest > np.quantile(single, 0.8)


def test_the_grid_is_full_and_fits_the_budget() -> None:
    space = SearchSpace({"x": Float(0, 1), "n": Int(1, 3), "c": Choice(("u", "v"))})
    *asked, extra = play(create("grid", space, seed=1, budget=31, capacity=8), lambda s: 0.0).points
    assert extra not in asked, "what the grid leaves of the budget is spent too"
    configurations = [space.decode(point) for point in asked]
    for name, levels in (("x", 5), ("n", 3), ("c", 2)):
        assert len({configuration[name] for configuration in configurations}) == levels
    assert len(asked) == 30 == len(set(asked))


def test_equal_levels_before_finer_ones() -> None:
    asked = np.array(points("grid", 0, 50))[:48]
    assert [len(np.unique(column)) for column in asked.T] == [4, 4, 3]


def test_a_grid_larger_than_the_budget_is_refused() -> None:
    space = SearchSpace({name: Choice(("u", "v", "w")) for name in "abc"})
    with pytest.raises(InputError, match="27 combinations, more than the 20 evaluations"):
        create("grid", space, seed=0, budget=20, capacity=4)
