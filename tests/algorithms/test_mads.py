from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.algorithms import Algorithm, KnownScore, Observation, Suggestion, create
from orchestrator.algorithms.wrapped import nomad
from orchestrator.contract.synthetic import FUNCTIONS
from orchestrator.space import SearchSpace
from orchestrator.space.space import Choice, Float, Int
from tests.algorithms.playing import play, space_of

BRANIN = FUNCTIONS["branin"]
LINE = SearchSpace({"x": Float(0, 1), "y": Float(0, 1)})
TWELVE = SearchSpace({"rank": Int(1, 4), "layers": Choice(("q", "qv", "qkv"))})


def build(space: SearchSpace = LINE, *, budget: int = 20, seed: int = 3, **options: Any) -> Algorithm:
    return create("mads", space, seed=seed, budget=budget, capacity=4, **options)


def bowl(suggestion: Suggestion) -> float:
    return -sum((x - 0.3) ** 2 for x in suggestion.point)


def notes(algorithm: Algorithm, score: Any = bowl) -> list[dict[str, Any]]:
    found = []
    while batch := algorithm.ask(100):
        found += [suggestion.note for suggestion in batch]
        algorithm.tell([Observation(s.id, score(s)) for s in batch])
    return found


# NOMAD's own optimization in one process, undisturbed; prints the points it evaluated.
UNDISTURBED = """
import json, os, sys, tempfile
import PyNomad
from orchestrator.contract.synthetic import FUNCTIONS
start, parameters, budget = json.load(sys.stdin)
function, points = FUNCTIONS["branin"], []
def score(x):
    points.append([x.get_coord(i) for i in range(2)])
    natural = [low + (high - low) * u for u, (low, high) in zip(points[-1], function.bounds)]
    x.setBBO(repr(function(natural)).encode())
    return True
def block(b):
    return [score(b.get_x(i)) for i in range(b.size())]
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
os.chdir(tempfile.mkdtemp())
open("x0.txt", "w").write("".join(" ".join(map(repr, x)) + chr(10) for x in start))
single = "BB_MAX_BLOCK_SIZE 1" in parameters
PyNomad.optimize(score if single else block, [], [0.0, 0.0], [1.0, 1.0],
    ["DIMENSION 2", "BB_OUTPUT_TYPE OBJ", "X0 x0.txt", f"MAX_BB_EVAL {budget}", *parameters])
json.dump(points[:budget], out)
"""


@pytest.mark.parametrize(
    ("sequential", "parameters"),
    [
        (False, ["MEGA_SEARCH_POLL yes", "BB_MAX_BLOCK_SIZE 1000"]),
        (True, ["BB_MAX_BLOCK_SIZE 1"]),
    ],
)
def test_the_points_are_those_of_nomads_own_uninterrupted_run(
    sequential: bool, parameters: list[str]
) -> None:
    algorithm = build(space_of(BRANIN), budget=40, sequential=sequential)
    decode = algorithm.space.decode

    def score(s: Suggestion) -> float:
        return -BRANIN([float(v) for v in decode(s.point).values()])

    played = play(algorithm, score)
    run = algorithm.dump()["run"]
    result = subprocess.run(
        [sys.executable, "-c", UNDISTURBED],
        input=json.dumps([run["start"], [*parameters, f"SEED {run['seed']}"], 40]),
        capture_output=True,
        text=True,
        check=True,
    )
    design = len(run["start"])
    assert [list(p) for p in played.points[design:]] == json.loads(result.stdout)[design:]
    assert max(played.batches[1:]) == 1 if sequential else min(played.batches[:4]) > 1
    assert played.best[-1] > -BRANIN.minimum - 0.05


def test_a_second_run_gives_the_same_points_whatever_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    first = play(build(), bowl).points
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    assert play(build(), bowl).points == first
    assert play(build(seed=4), bowl).points != first


TALK = """
import json, os, sys, time
sys.stdin.readline()
def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()
"""
FAULTS = {
    "aborts": ("os.abort()", "ended without an answer"),
    "aborts with a word": ("sys.stderr.write('bad mesh' + chr(10)); os.abort()", "bad mesh"),
    "hangs": ("time.sleep(600)", "no answer within"),
    "hangs in the middle of a line": ("say('[[0.1, '); time.sleep(600)", "no answer within"),
    "prints garbage": ("say('NOMAD 4 ' * 100 + chr(10))", "failed"),
    "prints bytes": (r"sys.stdout.buffer.write(b'\\xff\\xfe\\n'); sys.stdout.flush()", "failed"),
    "answers nothing": ("say('[]' + chr(10))", "no block"),
    "answers null": ("say('null' + chr(10))", "no block"),
    "leaves the box": ("say('[[0.5, 1.5]]' + chr(10))", "no point of the box"),
    "loses a dimension": ("say('[[0.5]]' + chr(10))", "no point of the box"),
    "has no number": ("say('[[0.5, NaN]]' + chr(10))", "no point of the box"),
    "repeats itself": ("while True: say('[[0.5, 0.5]]' + chr(10)); sys.stdin.readline()", "no answer within"),
}


def stand_in(monkeypatch: pytest.MonkeyPatch, program: str, limit_s: float = 20.0) -> None:
    monkeypatch.setattr(nomad, "COMMAND", (sys.executable, "-I", "-c", program))
    monkeypatch.setattr(nomad, "LIMIT_S", limit_s)


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_of_nomads_hurts_the_search(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    program, why = FAULTS[fault]
    hangs = why == "no answer within"
    stand_in(monkeypatch, TALK + program, 0.5 if hangs else 20.0)
    algorithm = build(budget=12)
    found = notes(algorithm)
    assert [note["source"] for note in found] == ["design"] * 6 + ["fallback"] * 6
    assert all(why in note["why"] and "\n" not in note["why"] for note in found[6:])
    points = algorithm.dump()["points"]
    assert len({tuple(point) for point in points}) == len(points)
    again = build(budget=12)
    notes(again)
    assert again.dump()["points"] == points


def test_no_such_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nomad, "COMMAND", ("/nowhere/nomad",))
    assert "did not start" in notes(build(budget=8))[-1]["why"]


def test_what_overshoots_is_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, TALK + "say(json.dumps([[i / 1000, 0.5] for i in range(1000)]) + chr(10))")
    algorithm = build(budget=20)
    assert [len(algorithm.ask(100)) for _ in range(2)] == [6, 0]
    algorithm.tell([Observation(i, 0.5) for i in range(6)])
    assert [len(algorithm.ask(100)) for _ in range(2)] == [14, 0]


def test_the_search_recovers_from_one_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = build(budget=30)
    batch = algorithm.ask(100)
    algorithm.tell([Observation(s.id, bowl(s)) for s in batch])
    with monkeypatch.context() as context:
        stand_in(context, TALK + "os.abort()")
        batch = algorithm.ask(100)
    assert {s.note["source"] for s in batch} == {"fallback"}
    algorithm.tell([Observation(s.id, bowl(s)) for s in batch])
    assert {note["source"] for note in notes(algorithm)} == {"nomad"}
    assert len(algorithm.dump()["run"]["start"]) == 10, "the design and the fallback"


def test_no_process_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []

    class Remembered(subprocess.Popen[str]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Remembered)
    notes(build(budget=10))
    stand_in(monkeypatch, TALK + "time.sleep(600)", 0.3)
    notes(build(budget=10))
    assert len(started) >= 2
    for process in started:
        assert process.returncode is not None
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)


def test_a_finite_space_is_searched_once_each_and_no_further() -> None:
    points = play(build(TWELVE, budget=30), bowl).points
    assert len(points) == 12
    assert len({TWELVE.snap(point) for point in points}) == 12


def test_integers_reach_nomad_as_integers_and_log_scales_as_the_interval() -> None:
    space = SearchSpace({"layers": Int(0, 1000), "alpha": Int(1, 256, log=True)})
    target = {"layers": 437, "alpha": 16}

    def score(s: Suggestion) -> float:
        found = space.decode(s.point)
        layers, alpha = float(found["layers"]), float(found["alpha"])
        return -abs(layers - target["layers"]) / 1000 - abs(alpha - target["alpha"]) / 256

    played = play(build(space, budget=80), score)
    assert len({space.snap(point) for point in played.points}) == 80, "no configuration twice"
    assert played.best[-1] == 0


def test_after_the_mesh_is_exhausted_it_goes_on_elsewhere() -> None:
    space = SearchSpace({"x": Int(0, 100)})
    algorithm = build(space, budget=50)
    sources = [note["source"] for note in notes(algorithm)]
    assert len(sources) == 50
    assert sources.index("nomad") < len(sources) - 1 - sources[::-1].index("design"), "a second design"


def test_what_is_infeasible_costs_no_evaluation() -> None:
    space = SearchSpace({"a": Float(0, 1), "b": Float(0, 1)}, constraints=["a <= 0.2 * b"])
    played = play(build(space, budget=40), lambda s: s.point[0])
    assert len(played.points) == 40
    assert all(map(space.feasible, played.points))
    assert played.best[-1] > 0.19


def best_of(algorithm: Algorithm, rounds: int) -> Sequence[Suggestion]:
    batch: Sequence[Suggestion] = []
    for _ in range(rounds):
        batch = algorithm.ask(100)
        algorithm.tell([Observation(s.id, bowl(s)) for s in batch])
    return batch


def test_an_enqueued_point_that_is_best_becomes_the_start() -> None:
    algorithm = build(budget=60)
    best_of(algorithm, 2)
    algorithm.enqueue([(0.3001, 0.3)])
    (enqueued,) = algorithm.ask(100)
    assert enqueued.note == {"enqueued": True}
    algorithm.tell([Observation(enqueued.id, bowl(enqueued))])
    best_of(algorithm, 1)
    assert algorithm.dump()["run"]["start"][0] == [0.3001, 0.3]
    poor = (0.95, 0.95)
    seed = algorithm.dump()["run"]["seed"]
    algorithm.enqueue([poor])
    best_of(algorithm, 2)
    assert algorithm.dump()["run"]["seed"] == seed, "another poor point disturbs nothing"


def test_what_was_learnt_is_not_asked_again_and_is_started_from() -> None:
    known = [KnownScore((0.5, 0.5), -0.08), KnownScore((0.31, 0.3), -0.0001)]
    algorithm = build(budget=20)
    algorithm.learn(known)
    played = play(algorithm, bowl)
    assert not {one.point for one in known} & set(played.points)
    assert algorithm.dump()["run"]["start"][0] == [0.31, 0.3]
