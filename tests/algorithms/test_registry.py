from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from orchestrator.algorithms import ALGORITHMS, check_options, create
from orchestrator.errors import InputError
from orchestrator.space import SearchSpace
from orchestrator.space.space import Float

SPACE = SearchSpace({"x": Float(0, 1)})


def test_importing_the_registry_loads_no_torch() -> None:
    code = (
        "import sys; import orchestrator.space.space as s;"
        "from orchestrator.algorithms import check_options, create;"
        "check_options('bamsoo', {'eta': 1});"
        "space = s.SearchSpace({'x': s.Float(0, 1)});"
        "[create(name, space, seed=0, budget=3, capacity=2) for name in ('lhs', 'random', 'soo')];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_entries_describe_themselves() -> None:
    assert next(iter(ALGORITHMS)) == "fullsweep", "the default comes first"
    for name, entry in ALGORITHMS.items():
        assert entry.name == name
        assert entry.description
        assert "\n" not in entry.description
        assert check_options(name, {}) == []
        given = {option: value for option, value in entry.defaults.items() if value is not None}
        assert check_options(name, given) == []


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("bamso", {}, "no algorithm 'bamso'; did you mean \"bamsoo\"?"),
        ("gradient", {}, "no algorithm 'gradient'; known: bamsoo, bo, "),
        ("bamsoo", {"etta": 0.1}, "bamsoo: no option 'etta'; did you mean \"eta\"?"),
        ("lhs", {"eta": 0.1}, "lhs: no option 'eta': it takes none"),
        ("bamsoo", {"eta": 1}, "bamsoo: eta = 1: outside (0, 1): "),
        ("bamsoo", {"eta": 0.0}, "bamsoo: eta = 0.0: outside (0, 1): "),
        ("bamsoo", {"eta": "0.1"}, "bamsoo: eta = '0.1': must be a valid number"),
        ("bamsoo", {"beta": 0}, "bamsoo: beta = 0: must be greater than 0"),
        ("bamsoo", {"beta": float("inf")}, "bamsoo: beta = inf: must be a finite number"),
        ("bamsoo", {"max_free_sweeps": 0}, "bamsoo: max_free_sweeps = 0: must be greater than or equal to 1"),
        ("bamsoo", {"max_free_sweeps": True}, "bamsoo: max_free_sweeps = True: must be a valid integer"),
        ("bamsoo", {"kernel": "matern"}, "bamsoo: kernel = 'matern': must be 'matern52' or 'rbf'"),
        ("soo", {"h_max": 3}, "soo: h_max = 3: must be 'none' or 'sqrt'"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], problem: str) -> None:
    (found,) = check_options(name, options)
    assert found.startswith(problem)
    assert "\n" not in found
    with pytest.raises(InputError) as caught:
        create(name, SPACE, seed=0, budget=3, capacity=1, **options)
    assert caught.value.problems == (found,)


def test_every_problem_at_once() -> None:
    with pytest.raises(InputError) as caught:
        create("bamsoo", SPACE, seed=-1, budget=-5, capacity=0, eta=2, rul="x")
    assert [line.split(":")[0] for line in caught.value.problems] == [
        "bamsoo",
        "bamsoo",
        "budget = -5",
        "capacity = 0",
        "seed = -1",
    ]


@pytest.mark.parametrize(("seed", "budget"), [(1.5, 5), (0, 2.5), (0, "5")])
def test_a_number_that_is_not_whole_is_refused(seed: Any, budget: Any) -> None:
    with pytest.raises(InputError, match="must be a whole number"):
        create("random", SPACE, seed=seed, budget=budget, capacity=1)
