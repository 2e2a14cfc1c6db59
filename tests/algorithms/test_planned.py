"""What is told is a number or nothing, and a state goes on only where it belongs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.algorithms import KnownScore, Observation, check_options, create
from orchestrator.space import Choice, Float, SearchSpace

SPACE = SearchSpace({"x": Float(0, 1), "kind": Choice(("a", "b"))})
OTHER = SearchSpace({"y": Float(0, 1), "kind": Choice(("a", "b"))})


def new(name: str = "random", space: SearchSpace = SPACE, **options: Any) -> Any:
    return create(name, space, seed=1, budget=6, capacity=2, **options)


@pytest.mark.parametrize(
    "score", [1, 0.5, np.float32(0.5), np.int64(3), np.array(0.5), torch.tensor(0.5), torch.tensor([0.5])]
)
def test_scalars_of_any_library_are_told_and_written_down(score: Any) -> None:
    algorithm = new("soo")
    (first,) = algorithm.ask(1)
    algorithm.tell([Observation(first.id, score, score)])
    state = json.loads(json.dumps(algorithm.dump(), allow_nan=False))
    assert state["told"] == [[0, float(score), float(score)]]
    learning = new("bamsoo")
    learning.learn([KnownScore((0.5, 0.25), score)])
    assert json.loads(json.dumps(learning.dump()))["known"] == [[[0.5, 0.25], float(score), None]]


@pytest.mark.parametrize(
    "score", ["0.5", "high", [0.5, 1.0], np.array([1.0, 2.0]), torch.ones(2), float("nan"), np.inf, {}, b"1"]
)
def test_what_is_no_number_is_refused_with_a_sentence(score: Any) -> None:
    algorithm = new()
    (first,) = algorithm.ask(1)
    with pytest.raises(ValueError, match=r"suggestion 0: .* is no score; a failure has None"):
        algorithm.tell([Observation(first.id, score)])
    algorithm.tell([Observation(first.id, None)])
    with pytest.raises(ValueError, match="is no score"):
        new("bamsoo").learn([KnownScore((0.5, 0.25), score)])


def test_a_failure_elsewhere_is_no_known_score() -> None:
    with pytest.raises(ValueError, match="leave out what failed"):
        new("bamsoo").learn([KnownScore((0.5, 0.25), None)])  # type: ignore[arg-type]


def test_options_may_be_scalars_of_numpy() -> None:
    options: dict[str, Any] = {
        "beta": np.float32(0.5),
        "max_free_sweeps": np.int64(3),
        "eta": torch.tensor(0.1),
    }
    assert check_options("bamsoo", options) == []
    assert new("bamsoo", **options).ask(1)


def test_a_state_of_another_search_or_space_is_refused() -> None:
    state = new("soo").dump()
    with pytest.raises(ValueError, match=r"the state of SOO over x, kind; here is BaMSOO over x, kind"):
        new("bamsoo").load(state)
    with pytest.raises(ValueError, match=r"the state of SOO over x, kind; here is SOO over y, kind"):
        new("soo", OTHER).load(state)
    new("soo").load(state)
    new("soo").load({key: value for key, value in state.items() if key not in ("search", "axes")})
