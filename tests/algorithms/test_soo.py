"""SOO against the paper, against visit sequences of an independent program, and against itself."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from orchestrator.algorithms import Observation, create
from orchestrator.contract.synthetic import FUNCTIONS, Function
from orchestrator.space import SearchSpace
from orchestrator.space.space import Choice, Float, Int
from tests.algorithms.playing import minimize, play
from tests.fakes.shared_data import shared_data

PUBLISHED = {50: 3.5654e-4, 100: 5.8976e-7, 150: 1.9162e-10}  # Munos 2011, Table 1: errors on sin1


def errors(function: Function, best: npt.NDArray[np.float64]) -> list[float]:
    return [float(-function.minimum - best[evaluations - 1]) for evaluations in PUBLISHED]


def textbook(function: Function, evaluations: int, *, reuse: bool = True, count: str = "expansions") -> Any:
    """Munos' Algorithm 2 on [0, 1], as short as it gets: best score after each evaluation."""
    scores: list[float] = []

    def evaluate(x: float) -> float:
        scores.append(-function([x]))
        return scores[-1]

    leaves = [(0, 0.5, evaluate(0.5))]  # depth, center, score
    expansions = 0
    while len(scores) < evaluations:
        v_max, deepest, h = -math.inf, max(depth for depth, _, _ in leaves), 0
        while h <= deepest and h <= math.sqrt(expansions if count == "expansions" else len(scores)):
            here = [leaf for leaf in leaves if leaf[0] == h]
            best = max(here, key=lambda leaf: leaf[2], default=None)
            if best is not None and best[2] >= v_max:
                leaves.remove(best)
                _, x, v_max = best
                expansions += 1
                third = 3.0 ** -(h + 1)
                leaves.append((h + 1, x - third, evaluate(x - third)))
                leaves.append((h + 1, x, v_max if reuse else evaluate(x)))
                leaves.append((h + 1, x + third, evaluate(x + third)))
            h += 1
    return np.maximum.accumulate(scores)


def test_published_errors() -> None:
    played = minimize("soo", FUNCTIONS["sin1"], budget=150, h_max="sqrt")
    assert len(played.points) == 150
    assert errors(FUNCTIONS["sin1"], played.best) == pytest.approx(list(PUBLISHED.values()), rel=1e-3)


def test_published_errors_tell_right_from_wrong() -> None:
    function, published = FUNCTIONS["sin1"], pytest.approx(list(PUBLISHED.values()), rel=1e-3)
    assert errors(function, textbook(function, 150)) == published
    no_reuse = errors(function, textbook(function, 150, reuse=False))
    by_evaluations = errors(function, textbook(function, 150, count="evaluations"))
    assert no_reuse != published
    assert no_reuse == pytest.approx([3.57e-4, 2.23e-6, 5.9e-7], rel=1e-2)
    assert by_evaluations != published
    assert by_evaluations == pytest.approx([5.9e-7, 1.92e-10, 2.05e-11], rel=1e-2)


@pytest.mark.parametrize("name", ["sin1", "branin", "hartmann3", "hartmann6"])
@pytest.mark.parametrize(
    ("variant", "options"),
    [("munos_sqrt", {"h_max": "sqrt"}), ("noHmax_strict_frozen", {"sequential": True})],
)
def test_visit_sequence(name: str, variant: str, options: dict[str, Any]) -> None:
    golden = json.loads(shared_data("golden_soo.json").read_text())[f"{name}/{variant}"]
    played = minimize("soo", FUNCTIONS[name], budget=51, **options)
    assert np.abs(np.array(played.points) - np.array(golden["x"])).max() < 1e-11
    assert played.scores == pytest.approx(golden["y"], rel=1e-12)
    assert played.best[-1] == pytest.approx(golden["best"])


@pytest.mark.parametrize(
    ("name", "evaluations"),
    [
        ("sin1", (15, 55, 100)),
        ("sin2", (89, 249, 521)),
        ("peaks", (171, 214, 471)),
        ("branin", (133, 285, 495)),
        ("rosenbrock2", (249, 468, 751)),
        # 1e-6 took the program these values come from more than 4000; elsewhere it agrees.
        ("hartmann3", (248, 600, 750)),
        ("hartmann6", (601, 2221, 3887)),
    ],
)
def test_evaluations_to_an_error(name: str, evaluations: tuple[int, ...]) -> None:
    """Regression values of our own for the published algorithm: 1e-2, 1e-4 and 1e-6."""
    function = FUNCTIONS[name]
    best = minimize("soo", function, budget=evaluations[-1] + 1, h_max="sqrt").best
    error = -function.minimum - best
    assert tuple(int(np.argmax(error <= goal)) + 1 for goal in (1e-2, 1e-4, 1e-6)) == evaluations


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("branin", 1.5e-3),
        ("peaks", 3.2e-5),
        ("rosenbrock2", 3.7e-2),
        ("hartmann3", 4.6e-2),
        ("shekel5", 3.4),
        ("hartmann6", 0.66),
    ],
)
def test_sweeps_as_batches_lose_nothing(name: str, bound: float) -> None:
    played = minimize("soo", FUNCTIONS[name], budget=100)
    assert -FUNCTIONS[name].minimum - played.best[-1] < bound
    assert played.batches[:4] == [1, 2, 2, 4]
    assert max(played.batches) >= 14


def test_without_h_max_a_plateau_is_searched_in_breadth() -> None:
    space = SearchSpace({"x": Float(0, 1), "y": Float(0, 1)})
    algorithm = create("soo", space, seed=0, budget=200, capacity=8)
    play(algorithm, lambda suggestion: 0.0)
    deepest = max(algorithm.dump()["tree"]["sources"].count(i) for i in range(200))
    assert deepest <= 7, "equal scores must not be followed down through middle children"


@pytest.mark.parametrize(
    "options", [{}, {"sequential": True}, {"h_max": "sqrt"}, {"h_max": "sqrt", "sequential": False}]
)
def test_a_finite_space_is_searched_whole_and_nothing_twice(options: dict[str, Any]) -> None:
    space = SearchSpace({"rank": Int(1, 4), "layer": Choice(("q", "v")), "bits": Int(0, 2)})
    algorithm = create("soo", space, seed=0, budget=100, capacity=8, **options)
    played = play(algorithm, lambda s: -abs(float(space.decode(s.point)["rank"]) - 3))
    configurations = {tuple(space.decode(point).values()) for point in played.points}
    assert len(configurations) == len(played.points) == space.cardinality


def test_a_failure_is_the_worst_of_all_scores_whenever_they_come() -> None:
    space = SearchSpace({"x": Float(0, 1)})
    algorithm = create("soo", space, seed=0, budget=9, capacity=8)
    algorithm.tell([Observation(algorithm.ask(1)[0].id, None)])
    left, right = algorithm.ask(2)
    algorithm.tell([Observation(left.id, 5.0), Observation(right.id, 4.0)])
    assert [s.point[0] for s in algorithm.ask(4)] == pytest.approx(
        [1 / 18, 5 / 18]
    )  # the best leaf at depth 1
    tree = algorithm.sweep.tree  # type: ignore[attr-defined]
    assert tree.score[:4].tolist() == [4.0, 5.0, 4.0, 4.0]
