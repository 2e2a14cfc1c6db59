"""Bayesian optimization as published: its design, its rounds, and that it optimizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchestrator.algorithms import Algorithm, KnownScore, Observation, Suggestion, create
from orchestrator.space import SearchSpace
from orchestrator.space.space import Choice, Float, Int
from tests.algorithms.playing import play

SPACE = SearchSpace({name: Float(0, 1) for name in "ab"})


def bowl(suggestion: Suggestion) -> float:
    return -sum((x - 0.3) ** 2 for x in suggestion.point)


def new(space: SearchSpace = SPACE, *, budget: int = 20, capacity: int = 4, **options: Any) -> Algorithm:
    return create("bo", space, seed=1, budget=budget, capacity=capacity, **options)


def test_it_starts_from_one_latin_hypercube() -> None:
    design = np.array([s.point for s in new(n_init=7).ask(100)])
    assert np.array_equal(np.sort(np.floor(design * 7), axis=0), np.tile(np.arange(7.0)[:, None], (1, 2)))


def test_no_design_is_paid_for_twice() -> None:
    known = [KnownScore(s.point, bowl(s)) for s in new().ask(10)]
    partly, wholly = new(), new()
    partly.learn(known[:6])
    wholly.learn(known)
    assert [s.note["source"] for s in partly.ask(10)] == ["design"] * 4
    batch = wholly.ask(10)
    assert [s.note["source"] for s in batch] == ["improvement"] * 4
    assert max(map(bowl, batch)) > max(one.score for one in known)


def test_rounds_are_batches_and_a_batch_of_one_is_sequential() -> None:
    assert play(new(), bowl).batches == [10, 4, 4, 2]
    assert play(new(batch=1), bowl).batches == [10] + [1] * 10
    assert play(new(batch=1), bowl).points == play(new(capacity=1), bowl).points


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_it_optimizes(kernel: str) -> None:
    played = play(new(kernel=kernel), bowl)
    assert played.best[-1] > -1e-4 > played.best[9]


def test_pending_points_are_kept_away_from() -> None:
    algorithm = new(asynchronous=True, n_init=5)
    design = algorithm.ask(5)
    algorithm.tell([Observation(s.id, bowl(s)) for s in design])
    asked = np.array([algorithm.ask(1)[0].point for _ in range(4)])
    apart = [np.linalg.norm(a - b) for i, a in enumerate(asked) for b in asked[:i]]
    assert min(apart) > 0.02


def test_a_failed_design_leaves_random_points() -> None:
    algorithm = new()
    algorithm.tell([Observation(s.id, None) for s in algorithm.ask(10)])
    assert {s.note["source"] for s in algorithm.ask(4)} == {"random"}


def test_a_configuration_is_asked_once() -> None:
    space = SearchSpace({"n": Int(1, 5), "c": Choice(("u", "v", "w"))})
    asked = play(new(space, budget=40, n_init=3), lambda s: s.point[0]).points
    snapped = [space.snap(point) for point in asked]
    assert len(set(snapped)) == 15
    assert len(snapped) <= 18, "only the first design may repeat one"
