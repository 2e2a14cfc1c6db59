"""The `[space]` section of a study file, and what is to be tried first."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.preflight import read_checked_study
from orchestrator.space.space import Choice, Float, Int
from tests.config.test_study import COMMAND, problems_of, read, the_problem
from tests.fakes.studies import LITGPT, write_study

X = 'x = { type = "float", low = 0, high = 1, default = 0.25 }\n'
N = 'n = { type = "int", low = 1, high = 8, default = 2 }\n'
OPTIMIZER = 'optimizer = { type = "choice", options = ["adam", "sgd"], default = "adam" }\n'
MOMENTUM = 'momentum = { type = "float", low = 0, high = 1, when = { optimizer = "sgd" } }\n'


def command(directory: Path, space: str, head: str = "", algorithm: str = "bamsoo") -> Path:
    return write_study(
        directory,
        head=f'name = "study"\nseed = 1\n{head}',
        algorithm=f'[algorithm]\nname = "{algorithm}"\n',
        evaluation=COMMAND,
        space=f"[space]\n{space}",
    )


def test_every_kind_of_parameter_is_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    space = """[space]
rate = { type = "float", low = 1e-5, high = 1e-2, log = true, default = 1e-3 }
rank = { type = "int", low = 2, high = 64.0 }
epochs = 3
[space.kind]
type = "choice"
options = ["a", "b"]
[space.mask]
value = true
"""
    spec = read(tmp_path, evaluation=COMMAND, space=space)
    assert spec.space.parameters == {
        "rate": Float(1e-5, 1e-2, log=True, default=1e-3),
        "rank": Int(2, 64),
        "kind": Choice(("a", "b")),
    }
    assert spec.space.names == ("rate", "rank", "kind")
    assert spec.space.fixed == {"epochs": 3, "mask": True}


def test_entries_of_a_preset_can_be_replaced_and_fixed(tmp_path: Path) -> None:
    space = LITGPT["space"] + 'lora_rank = { type = "int", low = 1, high = 8 }\nlora_alpha = 16\n'
    spec = read(tmp_path, **{**LITGPT, "space": space})
    assert spec.space.parameters["lora_rank"] == Int(1, 8)
    assert spec.space.fixed == {"lora_alpha": 16}
    assert spec.space.dimension == 4


@pytest.mark.parametrize("value", ["2020-01-01", "inf"])
def test_a_fixed_value_that_is_no_value_is_one_problem(tmp_path: Path, value: str) -> None:
    path = write_study(tmp_path, evaluation=COMMAND, space=f"[space]\nx = {value}\n")
    assert "input should be a valid boolean or a" in the_problem(path, line="x =")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('{ type = "float", low = 0 }', "needs the first two"),
        ('{ type = "int", low = 0, high = 2, options = [1] }', "needs the first two"),
        ('{ type = "choice", low = 0, options = [1, 2] }', "a choice takes"),
        ('{ type = "choice" }', "a choice takes"),
        ('{ type = "choice", options = ["a", "b"], default = "c" }', "'c' is not one of ['a', 'b']"),
        ('{ type = "float", low = 0, high = 1, default = "a" }', "`default` must be a number, got 'a'"),
        ('{ type = "int", low = 0, high = 4, default = 1.5 }', "int takes whole numbers"),
        ("{ low = 0, high = 1 }", 'give `type = "float"`'),
        ("{ value = 1, low = 0 }", "takes no other key"),
        ('{ type = "flaot", low = 0, high = 1 }', "'float', 'int' or 'choice', got 'flaot'"),
        ('{ type = "float", low = "a", high = 1 }', "input should be a valid number"),
        ('{ type = "float", low = 0, hihg = 1 }', 'did you mean "high"?'),
    ],
)
def test_a_wrong_entry_of_the_space_is_told_its_remedy(tmp_path: Path, entry: str, words: str) -> None:
    path = write_study(tmp_path, evaluation=COMMAND, space=f"[space]\nx = {entry}\n")
    assert words in the_problem(path, line="x =")


def test_an_array_among_the_parameters_is_told_what_it_may_be_meant_for(tmp_path: Path) -> None:
    path = write_study(tmp_path, evaluation=COMMAND, space='[space]\nconstraint = ["x < 1"]\n')
    assert the_problem(path, line="constraint =").startswith("space.constraint: is an array: options are")


@pytest.mark.parametrize("preset", ['"davouse2025-cod"', "3", '["davouse2025-code"]'])
def test_an_unknown_preset_is_refused_with_those_there_are(tmp_path: Path, preset: str) -> None:
    path = write_study(tmp_path, **{**LITGPT, "space": f"[space]\npreset = {preset}\n"})
    assert "davouse2025-code" in the_problem(path, line="preset")


def test_a_space_of_fixed_values_is_nothing_to_search(tmp_path: Path) -> None:
    path = write_study(tmp_path, space="[space]\nx0 = 1\nx1 = 2\n")
    assert "nothing to search over" in the_problem(path, line="[space]")


def test_a_command_needs_a_space(tmp_path: Path) -> None:
    assert the_problem(write_study(tmp_path, evaluation=COMMAND), line=None) == "section [space] is missing"


def test_a_wrong_parameter_is_not_reported_as_missing_too(tmp_path: Path) -> None:
    space = "[space]\nlora_rank = { type = 'int', low = 8, high = 4 }\nlora_alpha = 16\nlearning_rate = 0.1\n"
    assert "low = 8" in the_problem(write_study(tmp_path, **{**LITGPT, "space": space}), line="lora_rank")


# -- conditions and constraints -----------------------------------------------------------------------------


@pytest.mark.parametrize("when", ['{ optimizer = "sgd" }', '{ optimizer = ["sgd"] }'])
def test_a_condition_is_one_value_or_several(tmp_path: Path, when: str) -> None:
    momentum = f'momentum = {{ type = "float", low = 0, high = 1, when = {when} }}\n'
    space = read_checked_study(command(tmp_path, momentum + OPTIMIZER)).space
    assert space.decode((0.5, 0.9)) == {"momentum": 0.5, "optimizer": "sgd"}
    assert space.decode((0.5, 0.1)) == {"optimizer": "adam"}


def test_constraints_are_read(tmp_path: Path) -> None:
    space = read_checked_study(command(tmp_path, f'constraints = ["n <= 8 * x"]\nlimit = 3\n{X}{N}')).space
    assert space.constraints == ("n <= 8 * x",)
    assert set(space.names) == {"x", "n"}
    assert not space.feasible((0.1, 0.9))


def test_constraints_alone_leave_the_space_that_a_function_brings_along(tmp_path: Path) -> None:
    path = write_study(tmp_path, space='[space]\nconstraints = ["x0 <= x1"]\n')
    assert read_checked_study(path).space.names == ("x0", "x1")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('m = { type = "int", low = 1, high = 2, when = { n = 1 } }', "space.m: when: n is no choice"),
        (
            'm = { type = "int", low = 1, high = 2, when = { optimizer = 1 } }',
            "space.m: when: optimizer is never 1",
        ),
        (
            'm = { type = "int", low = 1, high = 2, when = "adam" }',
            "space.m.when: input should be a valid dict",
        ),
        (
            'm = { value = 1, when = { optimizer = "sgd" } }',
            "space.m: a fixed `value` takes no other key (it can",
        ),
        (
            'constraints = ["n < m"]',
            'space.constraints.0: `n < m`: no number is called "m"; known: n, x',
        ),
        (
            'constraints = ["n < 9", "n < 1"]',
            "space.constraints: none of 16,384 configurations satisfies `n < 1`",
        ),
        ('constraints = "n < 3"', "space.constraints: must be an array"),
        ("constraints = [3]", "space.constraints.0: 3 is no string"),
    ],
)
def test_what_does_not_fit_together_is_named_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    path = command(tmp_path, f"{N}{OPTIMIZER}{line}\n{X}")
    assert the_problem(path, line=line[:10]).startswith(words)


# -- what is tried first ------------------------------------------------------------------------------------


def test_the_defaults_come_first_and_entries_are_completed_by_them(tmp_path: Path) -> None:
    head = """include_default = true
enqueue = [
  { n = 5 },
  {},  # the defaults, which need not be repeated
  { optimizer = "sgd", momentum = 0.5, x = 1 },
]
"""
    spec = read_checked_study(command(tmp_path, X + N + OPTIMIZER + MOMENTUM + "epochs = 3\n", head))
    assert spec.enqueue == (
        {"epochs": 3, "x": 0.25, "n": 2, "optimizer": "adam"},
        {"epochs": 3, "x": 0.25, "n": 5, "optimizer": "adam"},
        {"epochs": 3, "x": 1, "n": 2, "optimizer": "sgd", "momentum": 0.5},
    )


def test_entries_may_be_tables_of_their_own(tmp_path: Path) -> None:
    path = command(tmp_path, X + N)
    path.write_text(path.read_text() + "[[enqueue]]\nn = 3\n[[enqueue]]\nn = 4\n")
    assert [one["n"] for one in read_checked_study(path).enqueue] == [3, 4]


def test_nothing_is_enqueued_unless_it_is_asked_for(tmp_path: Path) -> None:
    spec = read_checked_study(command(tmp_path, X))
    assert (spec.enqueue, spec.warm_start) == ((), ())


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ("{ x = 2 }", "x: 2 is not a number in [0, 1]"),
        ("{ n = 1.5 }", "n: 1.5 is not a whole number in 1..8"),
        ("{ y = 2 }", "y is no parameter of the space"),
        ("{ momentum = 0.5 }", "momentum is not there with optimizer = 'adam'"),
        ('{ optimizer = "sgd" }', "no `default` of momentum: give a value here"),
        ("{ epochs = 4 }", "epochs is fixed at 3, got 4"),
        ("{ n = 7 }", "n = 7, x = 0.25 breaks `n <= 2 + 8 * x`"),
        ("{ x = 0.5 }", "is the configuration of entry 0 again"),
    ],
)
def test_a_wrong_entry_is_named_by_its_number_and_line(tmp_path: Path, entry: str, what: str) -> None:
    head = f"enqueue = [\n  {{ x = 0.5 }},\n  {entry},\n]\n"
    space = X + N + OPTIMIZER + MOMENTUM + 'epochs = 3\nconstraints = ["n <= 2 + 8 * x"]\n'
    assert the_problem(command(tmp_path, space, head), line="enqueue") == f"enqueue.1: {what}"


def test_every_problem_of_what_is_tried_first_is_in_the_report(tmp_path: Path) -> None:
    y = 'y = { type = "float", low = 0, high = 1 }\nz = { type = "int", low = 0, high = 1 }\n'
    path = command(tmp_path, X + y, "include_default = true\nenqueue = [{ y = 3, z = 0 }, { x = 4 }]\n")
    assert [problem.removeprefix(f"{path}:") for problem in problems_of(path)] == [
        "3: include_default: no `default` of y, z: give one in [space]",
        "4: enqueue.0: y: 3 is not a number in [0, 1]",
        "4: enqueue.1: no `default` of y, z: give a value here",
    ]


@pytest.mark.parametrize("entry", ["3", '"x"', "{ x = [1] }", "{ x = inf }"])
def test_an_entry_that_is_no_table_of_values_is_one_problem(tmp_path: Path, entry: str) -> None:
    assert the_problem(command(tmp_path, X, f"enqueue = [{entry}]\n"), line="enqueue").startswith("enqueue.0")


def test_more_to_try_first_than_the_budget_pays_for_is_refused(tmp_path: Path) -> None:
    entries = ", ".join(f"{{ x = {i / 10} }}" for i in range(10))
    path = command(tmp_path, X, f"enqueue = [{entries}]\n")
    assert the_problem(path, line="enqueue") == (
        "enqueue: 10 configurations to try first, and a budget of 9 evaluations"
    )


def test_studies_to_learn_from_are_beside_the_file(tmp_path: Path) -> None:
    path = command(tmp_path, X, 'warm_start = ["runs/a", "/runs/b", "../c"]\n')
    assert read_checked_study(path).warm_start == (
        tmp_path / "runs" / "a",
        Path("/runs/b"),
        tmp_path.parent / "c",
    )


def test_an_algorithm_without_a_model_learns_from_no_other_study(tmp_path: Path) -> None:
    path = command(tmp_path, X, 'warm_start = ["runs/a"]\n', algorithm="soo")
    problem = the_problem(path, line="warm_start")
    assert problem.startswith(
        "warm_start: soo cannot learn from other studies: leave it out, or search with one"
    )
    assert "bamsoo" in problem
    path = command(tmp_path, X, 'warm_start = ["runs/a"]\n', algorithm="bamso")
    assert "did you mean" in the_problem(path, line="[algorithm]")
