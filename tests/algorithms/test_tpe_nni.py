"""The published TPE: somebody else's program, in an interpreter of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.algorithms import Algorithm, Observation, Suggestion, create
from orchestrator.algorithms.wrapped import tpe_nni
from orchestrator.errors import InputError, StudyStopped
from orchestrator.space import SearchSpace
from orchestrator.space.space import Choice, Float, Int
from tests.algorithms.playing import play

TWELVE = SearchSpace({"rank": Int(1, 4), "layers": Choice(("q", "qv", "qkv"))})
MIXED = SearchSpace(
    {"rate": Float(1e-6, 1e-2, log=True), "alpha": Int(1, 256, log=True), "flag": Choice((1, True))}
)


def tpe(space: SearchSpace = MIXED, *, budget: int = 21, capacity: int = 8) -> Algorithm:
    return create("tpe", space, seed=3, budget=budget, capacity=capacity, engine="nni")


def bowl(suggestion: Suggestion) -> float:
    return -sum((x - 0.3) ** 2 for x in suggestion.point)


@pytest.fixture
def nni() -> str:
    """The interpreter; without one the test is skipped, and fails in CI."""
    python = os.environ.get(tpe_nni.VARIABLE)
    if not python:
        message = f"no NNI to run: {tpe_nni.VARIABLE} names no interpreter"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return python


BY_HAND = """
import json
import numpy
from nni.algorithms.hpo.tpe_tuner import TpeTuner
tuner = TpeTuner("maximize", 1, {"n_startup_jobs": 10})
tuner.update_search_space(
    {"x": {"_type": "uniform", "_value": [0, 1]}, "y": {"_type": "choice", "_value": ["q", "qv", "qkv"]}}
)
history = []
for i in range(24):
    asked = tuner.generate_parameters(i)
    score = -(asked["x"] - 0.3) ** 2 - len(asked["y"]) / 10
    if i % 6 == 5:
        tuner.trial_end(i, False)
    elif i < 20:
        tuner.receive_trial_result(i, asked, score)
        tuner.trial_end(i, True)
    if i % 6 != 5:
        history.append([[asked["x"], asked["y"]], score if i < 20 else None])
tuner.rng = numpy.random.default_rng(9)
after = [tuner.generate_parameters(i) for i in range(24, 30)]
print(json.dumps([history, [[one["x"], one["y"]] for one in after]]))
"""


def test_nni_is_asked_as_if_it_had_suggested_all_before(nni: str) -> None:
    space = SearchSpace({"x": Float(0, 1), "y": Choice(("q", "qv", "qkv"))})
    run = subprocess.run([nni, "-I", "-c", BY_HAND], capture_output=True, text=True, check=True)
    told, after = json.loads(run.stdout.splitlines()[-1])
    history = [(space.encode({"x": x, "y": y}), score) for (x, y), score in told]
    expected = [space.encode({"x": x, "y": y}) for x, y in after]
    assert tpe_nni.draw(space, history, 6, seed=9, n_init=10) == expected


def test_nni_studies_are_equal_wherever_they_are_continued(nni: str) -> None:
    one, other = (tpe() for _ in range(2))
    while batch := one.ask(8):
        assert [s for limit in (3, 5) for s in other.ask(limit)] == batch
        one.tell([Observation(s.id, bowl(s)) for s in batch])
        other.tell([Observation(s.id, bowl(s)) for s in batch[::-1]])
        state = json.loads(json.dumps(other.dump(), allow_nan=False))
        other = tpe()
        other.load(state)
    assert len(one.dump()["points"]) == 21
    assert one.dump() == other.dump()


def test_nni_searches_twelve_configurations_once_each(nni: str) -> None:
    points = play(tpe(TWELVE, budget=30, capacity=6), bowl, limit=6).points
    assert len(points) == len({tuple(TWELVE.decode(point).values()) for point in points}) == 12


@pytest.mark.parametrize("python", [sys.executable, "/nowhere/python"])
def test_nni_is_missing(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tpe_nni.VARIABLE, python)
    with pytest.raises(InputError) as caught:
        tpe()
    (problem,) = caught.value.problems
    assert problem.startswith(f'tpe: engine = "nni" needs NNI 3.0, and {python} has none: ')
    assert "pip install nni==3.0 && export ORCHESTRATOR_NNI=" in problem


def test_nni_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\n[ "$2" = -c ] && echo 3.0 && exit\necho out of luck >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setenv(tpe_nni.VARIABLE, str(python))
    algorithm = tpe()
    with pytest.raises(StudyStopped, match="failed: out of luck: mend it and resume"):
        algorithm.ask(8)
