"""A study file: every mistake in one report, each with its line and its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import StudySpec
from orchestrator.contract import CommandEvaluation, LitGPTEvaluation
from orchestrator.contract.evaluation import LocalTask
from orchestrator.errors import InputError
from orchestrator.preflight import read_checked_study
from orchestrator.space.space import Float
from tests.fakes.studies import LITGPT, STUDY, line_of, write_study

COMMAND = '[evaluation]\nkind = "command"\ncommand = ["true"]\n'
STUDIES = Path(__file__).parents[2] / "studies"


def problems_of(path: Path) -> list[str]:
    with pytest.raises(InputError) as refused:
        read_checked_study(path)
    return list(refused.value.problems)


def the_problem(path: Path, *, line: str | None) -> str:
    """The only problem, which must stand at the line that starts so; without file and line."""
    [problem] = problems_of(path)
    place = f"{path}:{line_of(path, line)}: " if line else f"{path}: "
    assert problem.startswith(place)
    return problem.removeprefix(place)


def read(directory: Path, **sections: str) -> StudySpec:
    return read_checked_study(write_study(directory, **sections))


# -- what is right ------------------------------------------------------------------------------------------


def test_a_right_study_is_read_whole(tmp_path: Path) -> None:
    spec = read(
        tmp_path,
        head='name = "my-study"\nseed = 3\ninclude_base = true\n',
        evaluation=COMMAND,
        space="[space]\nx = { type = 'float', low = 0, high = 1 }\n",
        budget="[budget]\nevaluations = 9\ngpu_hours = 2.5\n",
        algorithm='[algorithm]\nname = "bamsoo"\neta = 0.1\n',
    )
    assert (spec.name, spec.seed, spec.include_base) == ("my-study", 3, True)
    assert (spec.budget.evaluations, spec.budget.gpu_hours, spec.most_evaluations) == (9, 2.5, 9)
    assert (spec.algorithm, spec.options) == ("bamsoo", {"eta": 0.1})
    assert spec.objective.sign == -1
    assert spec.text == (tmp_path / "study.toml").read_text()


def test_a_synthetic_function_has_no_base_model(tmp_path: Path) -> None:
    path = write_study(tmp_path, head='name = "a"\nseed = 3\ninclude_base = true\n')
    assert "has no base model" in the_problem(path, line="include_base")


def test_a_synthetic_function_brings_its_own_space(tmp_path: Path) -> None:
    assert read(tmp_path).space.parameters == {"x0": Float(-5, 10), "x1": Float(0, 15)}


def test_the_objective_comes_first_among_the_metrics_and_once(tmp_path: Path) -> None:
    objective = '[objective]\nmetric = "loss"\ndirection = "maximize"\nreport = ["time", "loss"]\n'
    spec = read(
        tmp_path, evaluation=COMMAND, objective=objective, space="[space]\nx={type='int',low=0,high=1}\n"
    )
    assert spec.objective.metrics == ("loss", "time")
    assert spec.objective.sign == 1


def test_relative_paths_start_at_the_studys_place_and_other_words_stay(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    (tmp_path / "model").mkdir()
    long = "pass;" * 200
    command = f'[evaluation]\nkind = "command"\ncommand = ["python", "train.py", "{long}", "/bin/true"]\n'
    evaluation = read(tmp_path, evaluation=command, space="[space]\nx={type='int',low=0,high=1}\n").evaluation
    assert isinstance(evaluation, CommandEvaluation)
    assert evaluation.command == ("python", str(tmp_path / "train.py"), long, "/bin/true")

    text = '[evaluation]\nkind = "litgpt"\nmodel = "model"\ndata = "~nobody-here/x.json"\nsteps = 3\n'
    tasks = 'tasks = [{ name = "mine", file = "../mine.jsonl" }, { name = "arc_easy" }]\n'
    evaluation = read(tmp_path, **{**LITGPT, "evaluation": text + tasks}).evaluation
    assert isinstance(evaluation, LitGPTEvaluation)
    assert evaluation.model == str(tmp_path / "model")
    assert evaluation.data == str(tmp_path / "~nobody-here/x.json")
    assert isinstance(evaluation.tasks[0], LocalTask)
    assert evaluation.tasks[0].file == str(tmp_path.parent / "mine.jsonl")


def test_a_hugging_face_id_and_the_demo_are_no_paths(tmp_path: Path) -> None:
    for model in ("org/name", "demo"):
        evaluation = read(
            tmp_path, **{**LITGPT, "evaluation": LITGPT["evaluation"].replace("demo", model, 1)}
        ).evaluation
        assert isinstance(evaluation, LitGPTEvaluation)
        assert (evaluation.model, evaluation.data) == (model, "demo")


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_study_that_ships_is_right(path: Path) -> None:
    assert read_checked_study(path).text == path.read_text(encoding="utf-8")


# -- what is wrong ------------------------------------------------------------------------------------------


def test_every_mistake_of_a_file_is_in_one_report(tmp_path: Path) -> None:
    path = write_study(
        tmp_path,
        head='name = "a/b"\nseed = -1\nsed = 3\n',
        budget="[budget]\nevaluation = 5\n",
        algorithm='[algorithm]\nname = "bamsoo"\neta = 1\nkernal = "rbf"\n',
        objective='[objective]\nmetric = "arc/acc"\ndirection = "up"\nreport = "x"\n',
        space="""[space]
preset = "davouse2025"
lora_rank = { type = "int", low = 64, high = 2 }
lora_alpha = { type = "int", low = 1.5, high = 4 }
learning_rate = { type = "float", low = 0.0, high = 1e-2, log = true }
weight_decay = { type = "float", low = 0, high = 1, default = 2 }
[space.lora_dropout]
type = "choice"
options = [0.1]
[space.batch_size]
type = "choice"
options = [4, 8, 4]
[space.lora_rnk]
value = 3
""",
        evaluation=LITGPT["evaluation"] + "batch_sise = 4\n",
    )
    lines = [
        ('name = "a/b"', "name: ", "it names the run's directory"),
        ("seed =", "seed: ", "greater than or equal to 0, got -1"),
        ("sed =", "sed: ", 'unknown key; did you mean "seed"?'),
        ("evaluation =", "budget.evaluation: ", 'unknown key; did you mean "evaluations"?'),
        ("direction", "objective.direction: ", "'maximize' or 'minimize', got 'up'"),
        ("report", "objective.report: ", "valid array, got 'x'"),
        ("batch_sise", "evaluation.batch_sise: ", 'unknown key; did you mean "batch_size"?'),
        ("[algorithm]", "algorithm: bamsoo: eta = 1: ", "outside (0, 1)"),
        ("[algorithm]", "algorithm: bamsoo: no option 'kernal'", 'did you mean "kernel"?'),
        ("preset", "space.preset: unknown preset 'davouse2025'", "did you mean"),
        ("lora_rank", "space.lora_rank: ", "low = 64 must be less than high = 2; for one value give `value"),
        ("lora_alpha", "space.lora_alpha: ", "int takes whole numbers, got [1.5, 4.0]"),
        ("learning_rate", "space.learning_rate: ", "log = true needs low > 0, got low = 0"),
        ("weight_decay", "space.weight_decay: ", "default = 2 lies outside [0, 1]"),
        (
            "[space.lora_dropout]",
            "space.lora_dropout: ",
            "at least two options, got [0.1]: give one as `value",
        ),
        ("[space.batch_size]", "space.batch_size: ", "an option twice: [4, 8, 4]"),
    ]
    problems = problems_of(path)
    starts = [f"{path}:{line_of(path, line)}: {key}" for line, key, _ in lines]
    assert [problem[: len(start)] for problem, start in zip(problems, starts, strict=True)] == starts
    assert [words for problem, (*_, words) in zip(problems, lines, strict=True) if words not in problem] == []


@pytest.mark.parametrize("section", ["budget", "algorithm", "objective", "evaluation"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_section_that_is_missing_or_empty_is_named(tmp_path: Path, section: str, empty: bool) -> None:
    path = write_study(tmp_path, **{section: f"[{section}]\n" if empty else ""})
    assert the_problem(path, line=None) == f"section [{section}] is missing or empty"


def test_a_misspelt_section_is_recognised(tmp_path: Path) -> None:
    unknown, missing = problems_of(write_study(tmp_path, budget="[budgett]\nevaluations = 9\n"))
    assert unknown.endswith('study.toml:3: budgett: unknown key; did you mean "budget"?')
    assert missing.endswith("section [budget] is missing or empty")


def test_a_section_must_be_a_table(tmp_path: Path) -> None:
    path = write_study(tmp_path, head=STUDY["head"] + "budget = 9\n", budget="")
    assert "budget: must be a table, [budget]" in problems_of(path)[0]
    assert problems_of(path)[0].startswith(f"{path}:3: ")


def test_a_budget_must_say_something(tmp_path: Path) -> None:
    path = write_study(tmp_path, budget="[budget]\nevaluations = 0\n")
    assert "greater than or equal to 1, got 0" in the_problem(path, line="evaluations")


def test_lhs_needs_a_number_of_evaluations(tmp_path: Path) -> None:
    path = write_study(tmp_path, budget="[budget]\ngpu_hours = 1\n", algorithm='[algorithm]\nname = "lhs"\n')
    assert "give `evaluations`" in the_problem(path, line="[budget]")


def test_an_unknown_algorithm_gets_the_nearest_one(tmp_path: Path) -> None:
    path = write_study(tmp_path, algorithm='[algorithm]\nname = "bamso"\n')
    assert 'did you mean "bamsoo"?' in the_problem(path, line="[algorithm]")


def test_an_unknown_kind_of_evaluation_gets_the_nearest_one(tmp_path: Path) -> None:
    path = write_study(tmp_path, evaluation='[evaluation]\nmodel = "demo"\nkind = "litgtp"\n')
    assert the_problem(path, line="kind") == 'evaluation.kind: unknown "litgtp"; did you mean "litgpt"?'


def test_an_evaluation_without_a_kind_is_told_so(tmp_path: Path) -> None:
    path = write_study(tmp_path, evaluation='[evaluation]\nfunction = "branin"\n')
    assert the_problem(path, line="[evaluation]") == "evaluation.kind: is missing: give it a value"


def test_a_fine_tuning_has_one_length(tmp_path: Path) -> None:
    path = write_study(tmp_path, **{**LITGPT, "evaluation": LITGPT["evaluation"] + "steps = 9\n"})
    assert the_problem(path, line="[evaluation]") == "evaluation: give either `epochs` or `steps`"


def test_four_bits_are_not_in_shards(tmp_path: Path) -> None:
    text = LITGPT["evaluation"] + 'quantize = "nf4"\nsharded = true\n'
    path = write_study(tmp_path, **{**LITGPT, "evaluation": text})
    assert the_problem(path, line="[evaluation]") == "evaluation: give either `quantize` or `sharded`"


# -- what is no study file at all ---------------------------------------------------------------------------


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert the_problem(tmp_path / "none.toml", line=None) == "no such file"


def test_a_directory_in_place_of_a_file(tmp_path: Path) -> None:
    assert the_problem(tmp_path, line=None) == "cannot be read: Is a directory"


def test_a_file_that_is_not_toml_names_the_line(tmp_path: Path) -> None:
    path = write_study(tmp_path, budget="[budget\n")
    assert "is not valid TOML" in the_problem(path, line=None)
    assert "at line 3" in the_problem(path, line=None)


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes('name = "größe"'.encode("latin-1"))
    assert "is not UTF-8 text" in the_problem(path, line=None)
