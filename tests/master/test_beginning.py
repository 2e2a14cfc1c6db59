"""How a search begins, and what a person adds to it: warm starts, enqueued configurations, requests."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.algorithms import ALGORITHMS, KnownScore
from orchestrator.config import StudySpec
from orchestrator.contract import Failure
from orchestrator.contract.assignment import Configuration
from orchestrator.errors import InputError
from orchestrator.preflight import forecast
from orchestrator.preflight.beginning import learnt
from orchestrator.record import RunDirectory, requests
from orchestrator.space import SearchSpace
from orchestrator.space.space import Choice, Float, Int
from tests.fakes.builders import Story
from tests.fakes.scripted import Following, ScriptedCluster, Study, replayed, study
from tests.fakes.studies import orchestrator, run_study, write_synthetic_study

FIRST: tuple[Configuration, ...] = ({"x0": 0.25, "x1": 0.75}, {"x0": 1.0, "x1": 0.0})
OBJECTIVE = {"metric": "value", "direction": "minimize", "report": []}


def enqueued(found: Study) -> list[Configuration]:
    """The configurations that a person wanted, in the order in which they were tried."""
    return [trial.configuration for trial in found.history.trials if trial.note.get("enqueued")]


# -- from the study file ------------------------------------------------------------------------------------


def test_what_the_study_file_enqueues_is_tried_first_and_counts(tmp_path: Path) -> None:
    spec, place = study(tmp_path, evaluations=5)
    spec = replace(spec, enqueue=FIRST)
    found = Study(spec, place)
    found.go()
    assert [t.configuration for t in found.history.trials[:2]] == list(FIRST)
    assert len(found.history.spent) == 5
    assert forecast(spec, place).batch[:2] == list(FIRST)


EXACT: Configuration = {"x0": 2e-4, "x1": 3e-3}


def logarithmic(spec: StudySpec) -> StudySpec:
    axes = {name: Float(1e-6, 1e-1, log=True) for name in ("x0", "x1")}
    return replace(spec, space=SearchSpace(axes, {}, ["x1 <= 15 * x0"]))


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "grid"])
def test_what_a_person_wants_tried_is_tried_to_the_last_bit(tmp_path: Path, algorithm: str) -> None:
    """Whether the file says it or a request, with a constraint that it just meets, across a crash."""
    spec, place = study(tmp_path, algorithm, evaluations=4)
    spec = replace(logarithmic(spec), enqueue=(EXACT,))
    other: Configuration = {"x0": 7e-5, "x1": 15 * 7e-5}
    assert EXACT not in (spec.space.decode(spec.space.encode(one)) for one in (EXACT, other))
    found = Study(spec, place)
    requests.put(found.run, other)
    assert found.go(crash_at=6) is None
    found.go()
    assert enqueued(found) == [EXACT, other]


# -- from other studies -------------------------------------------------------------------------------------


def other_study(directory: Path, *, objective: object = OBJECTIVE, text: str = "") -> RunDirectory:
    """A run with two scores in the unit square, one beyond it, one of more parameters, and a failure."""
    story = Story(objective=objective, text=text)
    inside: list[Configuration] = [{"x0": 0.1, "x1": 0.2}, {"x0": 0.5, "x1": 1.0}]
    story.ask(*inside, {"x0": 7.0, "x1": 0.1}, {"x0": 0.1, "x1": 0.1, "x2": 1}, {"x0": 0.0, "x1": 0.0})
    story.ask(inside[0], shares={0: 0}).submit(*[(n, 1) for n in range(5)])
    for trial, loss in enumerate((3.0, 1.0, 0.0, 0.0)):
        metrics = {"value": {"value": loss, "stderr": 0.5 if trial == 0 else None}}
        story._evaluate(trial, {"outcome": "ok", "metrics": metrics})
    story.fail(4, "diverged")
    directory.mkdir()
    return story.write(directory)


def test_a_search_learns_the_scores_that_lie_in_its_space(tmp_path: Path) -> None:
    run = other_study(tmp_path / "other")
    spec, _ = study(tmp_path / "new")
    known, lines = learnt(replace(spec, warm_start=(run.path,)))
    assert known == [KnownScore((0.1, 0.2), -3.0, 0.5), KnownScore((0.5, 1.0), -1.0, None)]
    assert lines[0] == f"warm start from {run.path}: 2 scores taken, 2 outside this space"


def test_another_evaluation_is_said_and_the_same_is_not(tmp_path: Path) -> None:
    spec, _ = study(tmp_path / "new")
    same = other_study(tmp_path / "same", text=spec.text)
    _, lines = learnt(replace(spec, warm_start=(same.path,)))
    assert len(lines) == 1
    other = other_study(tmp_path / "other", text=spec.text.replace("branin", "sin1"))
    _, lines = learnt(replace(spec, warm_start=(other.path,)))
    assert lines[1].endswith("its [evaluation] differs in function: scores may not compare")


def test_a_value_that_is_fixed_here_must_be_the_same_there(tmp_path: Path) -> None:
    run = other_study(tmp_path / "other")
    spec, _ = study(tmp_path / "new")
    for fixed, taken in ((0.2, 1), (0.3, 0)):
        space = SearchSpace({"x0": Float(0, 1)}, {"x1": fixed})
        here = replace(spec, space=space, warm_start=(run.path,))
        if taken:
            assert [one.point for one in learnt(here)[0]] == [(0.1,)]
        else:
            with pytest.raises(InputError, match="none of its 4 scores lies in this study's space"):
                learnt(here)
    more = SearchSpace({"x0": Float(0, 1), "x1": Float(0, 1)}, {"epochs": 1})
    with pytest.raises(InputError, match="none of its 4 scores"):
        learnt(replace(spec, space=more, warm_start=(run.path,)))


def test_every_study_that_cannot_be_used_is_named_before_there_is_a_run(tmp_path: Path) -> None:
    spec, place = study(tmp_path / "new")
    upwards = other_study(tmp_path / "up", objective={**OBJECTIVE, "direction": "maximize"})
    wrong = replace(spec, warm_start=(upwards.path, tmp_path / "nowhere"))
    with pytest.raises(InputError) as refused:
        Study(wrong, place)
    direction, nowhere = refused.value.problems
    assert "to maximize value, this study's to minimize value" in direction
    assert str(tmp_path / "nowhere") in nowhere
    assert "No such file" in nowhere
    assert not place.runs_path.exists()
    with pytest.raises(InputError, match="maximize value"):
        forecast(wrong, place)


def test_an_algorithm_that_cannot_search_so_is_refused_before_there_is_a_run(tmp_path: Path) -> None:
    axis = '{ type = "choice", options = [0, 1] }'
    path = write_synthetic_study(
        tmp_path, algorithm="grid", evaluations=3, space=f"[space]\nx0 = {axis}\nx1 = {axis}"
    )
    for command in ("check", "launch"):
        refused = orchestrator(command, path, "--profile", tmp_path / "profile.toml", cwd=tmp_path)
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"{path}:5: algorithm: grid: the choices alone have 4 combinations")
    assert not (tmp_path / "runs").exists()


def test_what_was_learnt_stays_when_the_other_run_is_gone(tmp_path: Path) -> None:
    run = other_study(tmp_path / "other")
    spec, place = study(tmp_path / "new", "random")
    found = Study(replace(spec, warm_start=(run.path,)), place, build=Following)
    cold = Study(*study(tmp_path / "cold", "random"), build=Following)
    assert found.go(crash_at=25) is None
    assert len(found.of_kind("asked")) > 0
    shutil.rmtree(run.path)
    assert found.go() == "the budget of 9 evaluations is spent"
    assert [line for line in found.said if line.startswith("warm")] == [
        f"warm start from {run.path}: 2 scores taken, 2 outside this space",
        f"warm start from {run.path}: its [evaluation] differs in function, kind: scores may not compare",
    ]
    cold.go()
    assert not {t.point for t in found.history.trials} & {t.point for t in cold.history.trials}


# -- from a person, later -----------------------------------------------------------------------------------


def test_requests_are_taken_up_before_and_while_the_study_runs(tmp_path: Path) -> None:
    spec, place = study(tmp_path, "random", evaluations=8)
    cluster = ScriptedCluster()
    found = Study(spec, place, cluster)
    requests.put(found.run, FIRST[0])
    later: list[Path] = []

    def seconds(trial: int) -> float:
        if trial == 4 and not later:
            later.append(requests.put(found.run, FIRST[1]))
        return 1.0

    cluster.seconds = seconds
    found.go()
    assert [t.configuration for t in found.history.trials].index(FIRST[0]) == 0
    assert enqueued(found) == list(FIRST)
    assert len(found.history.spent) == 8


def test_a_master_that_dies_anywhere_neither_loses_nor_doubles_a_request(tmp_path: Path) -> None:
    instants = random.Random(3)
    for life in range(10):
        spec, place = study(tmp_path / str(life), "random", evaluations=9)
        found = Study(replace(spec, enqueue=FIRST[:1]), place, build=Following)
        requests.put(found.run, FIRST[1])
        found.go(crash_at=1 + life)
        requests.put(found.run, {"x0": 0.5, "x1": 0.5})
        while found.go(crash_at=instants.randint(1, 30)) is None:
            pass
        assert enqueued(found) == [FIRST[0], FIRST[1], {"x0": 0.5, "x1": 0.5}]
        assert replayed(found) == [trial.point for trial in found.history.trials]
        assert requests.waiting(found.run) == []
        assert len(found.history.spent) == 9


def test_a_request_that_is_none_is_passed_over(tmp_path: Path) -> None:
    found = Study(*study(tmp_path, evaluations=4))
    for text in ("{", "[1]", "3", '{"x0": 2.0, "x1": 0.0}'):
        path = requests.put(found.run, {})
        path.write_text(text)
    found.go()
    assert len([line for line in found.said if "asks for no configuration" in line]) == 4
    assert found.of_kind("enqueued") == []
    assert requests.waiting(found.run) == []


def test_a_request_fills_a_slot_that_a_round_leaves_free(tmp_path: Path) -> None:
    cluster = ScriptedCluster()
    found = Study(*study(tmp_path, "soo", evaluations=6), cluster)
    put: list[Path] = []

    def seconds(trial: int) -> float:
        if trial == 1 and not put:  # SOO's second round is of the trials 1 and 2; there are three slots
            put.append(requests.put(found.run, FIRST[0]))
        return 10.0 + trial

    cluster.seconds = seconds
    found.go()
    assert found.history.trials[3].configuration == FIRST[0]
    [asked] = [record for record in found.of_kind("asked") if record["trials"][0]["suggestion"] == 3]
    assert max(r["seq"] for r in found.of_kind("evaluated") if r["trial"] in (1, 2)) > asked["seq"]
    assert len(found.history.spent) == 6


def test_enqueue_waits_for_a_master_and_refuses_what_is_wrong(tmp_path: Path) -> None:
    x0, x1 = 'type = "float", low = -5, high = 10, default = 1', 'type = "int", low = 0, high = 9'
    space = f"[space]\nx0 = {{ {x0} }}\nx1 = {{ {x1} }}"
    file = write_synthetic_study(tmp_path, algorithm="random", evaluations=4, space=space)
    run = run_study(tmp_path, file, fault="after-evaluated:1")
    wrong = orchestrator("enqueue", run.path, "x1=12", "y=3", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.splitlines() == [
        "x1=12: 12 is not a whole number in 0..9",
        "y: no parameter of the study; known: x0, x1",
    ]
    waits = orchestrator("enqueue", run.path, "x1=7", cwd=tmp_path)
    assert waits.returncode == 0, waits.stderr
    assert "x0=1 x1=7" in waits.stdout
    assert f"waits for `orchestrator resume {run.path}`" in waits.stdout
    run = run_study(tmp_path, file, resume=True)
    assert run.code == 0, run.errors
    assert [t.configuration for t in run.history.trials].count({"x0": 1.0, "x1": 7}) == 1
    assert list((run.path / "requests").iterdir()) == []


# -- in words -----------------------------------------------------------------------------------------------

SPACE = SearchSpace(
    {
        "rate": Float(1e-5, 1e-1, log=True),
        "rank": Int(2, 64, default=8),
        "bias": Choice((True, False), default=False),
        "optimizer": Choice(("adam", "sgd"), default="adam"),
        "momentum": Float(0.0, 0.99, default=0.9, when={"optimizer": "sgd"}),
    },
    {"epochs": 3},
    ["rate * rank <= 1"],
)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["rate=1e-3"], {}),
        (["rate=0.001", "rank=16", "bias=true"], {"rank": 16, "bias": True}),
        (["rate=1e-3", "bias=True", "epochs=3"], {"bias": True}),
        (["rate=1e-3", "optimizer=sgd"], {"optimizer": "sgd", "momentum": 0.9}),
        (["rate=1e-3", "momentum=0.5", "optimizer=sgd"], {"optimizer": "sgd", "momentum": 0.5}),
    ],
)
def test_words_are_read_by_the_parameters_type_and_defaults_fill_the_rest(
    words: list[str], values: Configuration
) -> None:
    plain: Configuration = {"epochs": 3, "rate": 1e-3, "rank": 8, "bias": False, "optimizer": "adam"}
    assert requests.parsed(words, SPACE) == {**plain, **values}


@pytest.mark.parametrize(
    ("words", "problems"),
    [
        (["rank=8"], ["rate: give it a value, the study file has no default"]),
        (["rate=2.0"], ["rate=2.0: 2.0 is not a number in [1e-05, 0.1]"]),
        (["rate=nan"], ["rate=nan: nan is not a number in [1e-05, 0.1]"]),
        (["rate=fast", "rank=2.5"], ["rate=fast: must be a number", "rank=2.5: must be a whole number"]),
        (["rate"], ["rate: write it as name=value"]),
        (["=3"], ["=3: write it as name=value"]),
        (["rate=1e-3", "rate=1e-4"], ["rate is given twice"]),
        (["rat=1e-3"], ['rat: no parameter of the study; did you mean "rate"?']),
        (["bias=maybe"], ["bias=maybe: must be one of true, false"]),
        (["epochs=4"], ["epochs=4: is fixed at 3"]),
        (["rate=0.1", "rank=64"], ["rank = 64, rate = 0.1 breaks `rate * rank <= 1`"]),
    ],
)
def test_every_mistake_is_named(words: list[str], problems: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        requests.parsed(words, SPACE)
    assert list(refused.value.problems) == problems


def test_a_parameter_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="momentum is not there with"):
        requests.parsed(["rate=1e-3", "momentum=0.5"], SPACE)


def test_a_failure_of_what_a_person_wanted_is_told_as_any_other(tmp_path: Path) -> None:
    cluster = ScriptedCluster(outcome=lambda a: Failure.WALLTIME if a.configuration["x0"] == 0.25 else 1.0)
    spec, place = study(tmp_path, evaluations=5)
    found = Study(replace(spec, enqueue=FIRST), place, cluster)
    assert found.go() == "the budget of 5 evaluations is spent"
