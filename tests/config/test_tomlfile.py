"""Where things stand in a file that a person wrote, and the lines that problems name."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.tomlfile import TomlFile
from tests.config.test_study import problems_of, the_problem
from tests.fakes.studies import LITGPT, line_of, write_study

PLACES = """\
name = "a"
[budget]
evaluations = 1 # 3
[evaluation]
"kind" = "x"
tasks = [
  { name = "a" },
  { name = "b" },
]
dotted.inner = 1 # 10
[[evaluation.task]]
name = "first" # 12
[[ evaluation.task ]] # the second
name = "second" # 14
[evaluation.task.sub]
key = 1 # 16
[[evaluation.task.list]]
key = 2 # 18
[[evaluation.task.list]]
key = 3 # 20
[space."odd key"]
low = 1 # 22
inline = { low = 1 }
matrix = [
  [1, 2],
]
after = 1 # 27
[late.sub] # 28
[late]
key = 1 # 30
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("name",), 1),
        (("budget",), 2),
        (("budget", "evaluations"), 3),
        (("budget", "absent"), 2),
        (("evaluation", "kind"), 5),
        (("evaluation", "tasks", 1, "name"), 6),
        (("evaluation", "dotted", "inner"), 10),
        (("evaluation", "task", 0, "name"), 12),
        (("evaluation", "task", 1), 13),
        (("evaluation", "task", 1, "name"), 14),
        (("evaluation", "task", 1, "absent"), 13),
        (("evaluation", "task", 1, "sub", "key"), 16),
        (("evaluation", "task", 1, "list", 0, "key"), 18),
        (("evaluation", "task", 1, "list", 1, "key"), 20),
        (("space", "odd key", "low"), 22),
        (("space", "odd key", "inline", "low"), 23),
        (("space", "odd key", "after"), 27),
        (("late", "sub", "absent"), 28),
        (("late", "key"), 30),
        (("absent",), None),
        ((), None),
    ],
)
def test_a_problem_names_the_line_where_the_deepest_part_of_its_place_stands(
    tmp_path: Path, place: tuple[str | int, ...], line: int | None
) -> None:
    path = tmp_path / "file.toml"
    path.write_text(PLACES)
    problem = TomlFile.read(path).problem(place, "what")
    key = f"{'.'.join(map(str, place))}: " if place else ""
    assert problem == f"{path}:{line}: {key}what" if line else f"{path}: {key}what"


def test_a_problem_in_the_second_table_of_an_array_names_its_line(tmp_path: Path) -> None:
    tasks = '[[evaluation.tasks]]\nname = "a"\n[[evaluation.tasks]]\nname = "b"\nfile = "b"\nlimt = 3\n'
    path = write_study(tmp_path, **{**LITGPT, "evaluation": LITGPT["evaluation"] + tasks})
    problem = the_problem(path, line="limt")
    assert problem == 'evaluation.tasks.1.limt: unknown key; did you mean "limit"?'


@pytest.mark.parametrize(
    ("task", "problems"),
    [
        ('"arc_easy"', ["tasks.0: must be a table of keys, got 'arc_easy'"]),
        ('{ name = "a", fille = "b" }', ['tasks.0.fille: unknown key; did you mean "file"?']),
        ('{ file = "b" }', ["tasks.0.name: is missing: give it a value"]),
        ('{ name = "a", yaml = 3 }', ["tasks.0.yaml: input should be a valid string, got 3"]),
    ],
)
def test_a_wrong_task_of_either_kind_is_told_its_remedy(
    tmp_path: Path, task: str, problems: list[str]
) -> None:
    text = LITGPT["evaluation"] + f"tasks = [{task}]\n"
    path = write_study(tmp_path, **{**LITGPT, "evaluation": text})
    place = f"{path}:{line_of(path, 'tasks')}: evaluation."
    assert problems_of(path) == [f"{place}{problem}" for problem in problems]


def test_keys_of_two_kinds_of_task_do_not_go_together(tmp_path: Path) -> None:
    text = LITGPT["evaluation"] + (
        'lorra_layers = 3\ntasks = [{ name = "a", file = "b", num_fewshot = 3 }, '
        '{ name = "a", yaml = "b", label = "c" }]\n'
    )
    problems = problems_of(write_study(tmp_path, **{**LITGPT, "evaluation": text}))
    for key in "lorra_layers", "tasks.0.num_fewshot", "tasks.1.label":
        assert any(f"evaluation.{key}: unknown key" in problem for problem in problems)
