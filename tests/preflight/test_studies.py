"""A study against what the program knows beyond its file, and what it would do."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.inputs import Prepared
from jobs.inputs.manifest import Frozen, PreparedTask
from orchestrator.config import ClusterProfile, StudySpec
from orchestrator.config.profile import resources
from orchestrator.errors import InputError
from orchestrator.preflight import forecast, prepared_inputs, read_both, read_checked_study
from orchestrator.preflight.studies import doubts
from tests.fakes.studies import LITGPT, line_of, write_profile, write_study

MODEL_CONFIG = "n_embd: 32\nn_head: 4\nn_query_groups: 1\nhead_size: 8\npadded_vocab_size: 100\n"


def the_problem(path: Path, *, line: str) -> str:
    """The only problem, which must stand at the line that starts so; without file and line."""
    with pytest.raises(InputError) as refused:
        read_checked_study(path)
    [problem] = refused.value.problems
    place = f"{path}:{line_of(path, line)}: "
    assert problem.startswith(place)
    return problem.removeprefix(place)


def litgpt(directory: Path, evaluation: str = "", **sections: str) -> Path:
    return write_study(directory, **{**LITGPT, "evaluation": LITGPT["evaluation"] + evaluation, **sections})


def test_four_bits_need_a_gpu(tmp_path: Path) -> None:
    path = litgpt(tmp_path, 'quantize = "nf4"\n')
    with pytest.raises(
        InputError, match=r"evaluation\.quantize: needs a CUDA GPU, and profile local has none"
    ):
        read_both(path, "local")
    assert read_both(path, "grid5000-chuc")[1].gpus == 4


def objective(metric: str, *report: str) -> str:
    return f'[objective]\nmetric = "{metric}"\ndirection = "minimize"\nreport = {list(report)}\n'


# -- metrics ------------------------------------------------------------------------------------------------

LOCAL_TASK = 'tasks = [{ name = "mine", file = "mine.jsonl" }]\n'
STOCK_TASK = 'tasks = [{ name = "mmlu" }]\n'


@pytest.mark.parametrize(
    ("tasks", "metrics"),
    [
        ("", ["val_loss", "train_loss", "train_seconds"]),
        (LOCAL_TASK, ["mine/acc", "mine/acc_norm", "val_loss"]),
        (STOCK_TASK, ["mmlu/acc", "mmlu_anatomy/acc", "arc/exact_match"]),  # a group names tasks of its own
    ],
)
def test_metrics_that_the_evaluation_gives_may_be_asked_for(
    tmp_path: Path, tasks: str, metrics: list[str]
) -> None:
    spec = read_checked_study(litgpt(tmp_path, tasks, objective=objective(*metrics)))
    assert spec.objective.metrics == tuple(metrics)


@pytest.mark.parametrize(
    ("tasks", "metric", "nearest"),
    [
        ("", "mine/acc", "known: train_loss, train_seconds, val_loss"),
        ("", "val_los", 'did you mean "val_loss"?'),
        (LOCAL_TASK, "mine/ac", 'did you mean "mine/acc"?'),
        (LOCAL_TASK, "mein/acc", 'did you mean "mine/acc"?'),
        (STOCK_TASK, "acc", "known: "),
        (STOCK_TASK, "mmlu/", 'did you mean "mmlu/acc"?'),
    ],
)
def test_a_metric_that_no_task_produces_gets_the_nearest_one(
    tmp_path: Path, tasks: str, metric: str, nearest: str
) -> None:
    problem = the_problem(litgpt(tmp_path, tasks, objective=objective(metric)), line="metric")
    assert problem.startswith(f'objective.metric: no evaluation gives "{metric}"; ')
    assert nearest in problem
    problem = the_problem(litgpt(tmp_path, tasks, objective=objective("val_loss", metric)), line="report")
    assert problem.startswith(f'objective.report: no evaluation gives "{metric}"; ')


def test_a_synthetic_function_gives_one_value(tmp_path: Path) -> None:
    path = write_study(tmp_path, objective=objective("loss"))
    assert the_problem(path, line="metric") == 'objective.metric: no evaluation gives "loss"; known: value'


# -- spaces -------------------------------------------------------------------------------------------------


def test_an_unknown_function_gets_the_nearest_one(tmp_path: Path) -> None:
    path = write_study(
        tmp_path, evaluation='[evaluation]\nkind = "synthetic"\nfunction = "brannin"\n[space]\nx0 = 1\n'
    )
    assert 'unknown function "brannin"; did you mean "branin"?' in the_problem(path, line="function")


def test_a_function_takes_its_own_parameters_and_no_others(tmp_path: Path) -> None:
    space = '[space]\nx0 = { type = "float", low = 0, high = 1 }\ny = 3\n'
    assert (
        the_problem(write_study(tmp_path, space=space), line="[space]")
        == "space: branin takes x0, x1; got x0, y"
    )


def test_a_hyperparameter_that_fine_tuning_does_not_have_gets_the_nearest_one(tmp_path: Path) -> None:
    path = litgpt(tmp_path, space=LITGPT["space"] + "lora_drop = 0.1\n")
    assert the_problem(path, line="lora_drop") == (
        'space.lora_drop: is no hyperparameter of litgpt; did you mean "lora_dropout"?'
    )


def test_what_an_evaluation_always_needs_cannot_be_conditional(tmp_path: Path) -> None:
    condition = "high = 0.5, when = { batch_size = 8 } }\n"
    space = LITGPT["space"] + 'batch_size = { type = "choice", options = [8, 16] }\n'
    rate, decay = (
        f'{name} = {{ type = "float", low = 0, {condition}' for name in ("learning_rate", "weight_decay")
    )
    assert "weight_decay" in read_checked_study(litgpt(tmp_path, space=space + decay)).space.names
    path = litgpt(tmp_path, space=space + rate)
    assert the_problem(path, line="learning_rate") == (
        "space.learning_rate: litgpt always needs it: leave `when` out"
    )
    x0 = 'x0 = { type = "choice", options = [1, 2] }\n'
    x1 = 'x1 = { type = "float", low = 0, high = 1, when = { x0 = 1 } }\n'
    path = write_study(tmp_path, space=f"[space]\n{x0}{x1}")
    assert the_problem(path, line="x1") == "space.x1: branin always takes it: leave `when` out"


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (["mmlu/acc", "mmlu_anatomy/acc", "val_loss"], []),
        (["mmlu/f1"], ['objective.metric: no evaluation gives "mmlu/f1": mmlu gives acc, acc_norm']),
        (
            ["val_loss", "mmlu_astronomy/acc"],
            ['objective.report: no evaluation gives "mmlu_astronomy/acc"; did you mean "mmlu_anatomy"?'],
        ),
    ],
)
def test_what_tasks_were_seen_to_give_may_be_asked_for_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: list[str], said: list[str]
) -> None:
    spec = read_checked_study(litgpt(tmp_path, STOCK_TASK, objective=objective(*metrics)))
    given = ("mmlu/acc", "mmlu/acc_norm", "mmlu_anatomy/acc")
    none = Frozen(path="", sha256="", documents=0)

    def prepared(*given: str) -> Prepared:
        task = PreparedTask(name="mmlu", metrics=given)
        return Prepared(digest="d", model="", model_files=(), sources=(), train=none, val=none, tasks=(task,))

    monkeypatch.setattr("orchestrator.preflight.studies.require_prepared", lambda *_, **__: prepared(*given))
    if said:
        with pytest.raises(InputError) as refused:
            prepared_inputs(spec, tmp_path)
        assert refused.value.problems == tuple(f"{spec.path}: {what}" for what in said)
    else:
        assert prepared_inputs(spec, tmp_path) == "d"
    # Where it could not be seen, nothing is refused.
    monkeypatch.setattr("orchestrator.preflight.studies.require_prepared", lambda *_, **__: prepared())
    assert prepared_inputs(spec, tmp_path) == "d"


def test_hyperparameters_without_a_default_must_be_there(tmp_path: Path) -> None:
    path = litgpt(tmp_path, space='[space]\nlora_rank = { type = "int", low = 1, high = 4 }\n')
    assert the_problem(path, line="[space]").startswith("space: lacks lora_alpha, learning_rate: ")


def test_sequences_longer_than_the_models_context_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model_config.yaml").write_text(f"{MODEL_CONFIG}block_size: 64\n")

    def of_length(longest: int) -> Path:
        path = litgpt(tmp_path, f"max_length = {longest}\n", space=LITGPT["space"] + "lora_rank = 4\n")
        path.write_text(path.read_text().replace('model = "demo"', 'model = "tiny"'))
        return path

    assert "tiny reads 64 tokens at most" in the_problem(of_length(65), line="max_length")
    assert read_checked_study(of_length(64)).space.names


@pytest.mark.parametrize(
    "rank", ['{ type = "int", low = 1, high = N }', '{ type = "choice", options = [1, N, 2] }', "N"]
)
def test_a_rank_above_what_a_layer_allows_is_refused(tmp_path: Path, rank: str) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model_config.yaml").write_text(MODEL_CONFIG)

    def of_rank(highest: int) -> Path:
        path = litgpt(tmp_path, space=LITGPT["space"] + f"lora_rank = {rank.replace('N', str(highest))}\n")
        path.write_text(path.read_text().replace('model = "demo"', 'model = "tiny"'))
        return path

    assert "lora_rank up to 9 on 'value': tiny allows 8 there" in the_problem(of_rank(9), line="lora_rank")
    assert read_checked_study(of_rank(8)).space.names


def test_a_model_whose_shape_cannot_be_read_is_one_problem_among_the_others(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model_config.yaml").write_text("n_embd: 32\n")
    path = litgpt(tmp_path, objective=objective("lose"))
    path.write_text(path.read_text().replace('model = "demo"', 'model = "tiny"'))
    with pytest.raises(InputError) as refused:
        read_checked_study(path)
    shape, metric = refused.value.problems
    assert shape.startswith(f"{path}:{line_of(path, 'model')}: evaluation.model: ")
    assert "lacks a number that LoRA needs" in shape
    assert "no evaluation gives" in metric


# -- what a study would do ----------------------------------------------------------------------------------


def profile(**changes: object) -> ClusterProfile:
    content = {
        "scheduler": "slurm",
        "shared_dir": ".",
        "hosts": 2,
        "gpus": 4,
        "walltime_min": 30,
        "max_jobs": 4,
    }
    return ClusterProfile.model_validate({**content, **changes})


def study(
    directory: Path, algorithm: str, *, budget: str = "evaluations = 10", base: bool = False
) -> StudySpec:
    text = f'[algorithm]\nname = "{algorithm}"\n'
    path = write_study(directory, budget=f"[budget]\n{budget}\n", algorithm=text)
    return replace(read_checked_study(path), include_base=base)


@pytest.mark.parametrize("algorithm", ["lhs", "random"])
def test_the_forecast_of_a_plain_design_is_its_waves(tmp_path: Path, algorithm: str) -> None:
    coming = forecast(study(tmp_path, algorithm), profile())
    assert (coming.waves, coming.wall_clock_h, coming.host_hours, coming.gpu_hours) == (3, 1.5, 10, 40)
    assert len(coming.batch) == 4


@pytest.mark.parametrize("algorithm", ["lhs", "random", "soo", "bamsoo"])
def test_the_forecast_shows_the_configurations_that_the_study_will_begin_with(
    tmp_path: Path, algorithm: str
) -> None:
    spec = study(tmp_path, algorithm)
    coming = forecast(spec, profile())
    assert 1 <= len(coming.batch) <= 4
    assert all(set(configuration) == {"x0", "x1"} for configuration in coming.batch)
    assert coming == forecast(spec, profile())
    assert math.ceil(10 / 4) <= coming.waves <= 10


def test_the_base_model_is_a_job_more_and_may_be_a_wave_more(tmp_path: Path) -> None:
    for evaluations, waves in ((10, 3), (12, 4)):
        spec = study(tmp_path, "random", budget=f"evaluations = {evaluations}", base=True)
        coming = forecast(spec, profile())
        assert (coming.waves, coming.wall_clock_h, coming.host_hours) == (waves, waves / 2, evaluations + 1)


@pytest.mark.parametrize(("gpus", "jobs"), [(4, 2), (0, 16)])
def test_gpu_hours_pay_for_so_many_whole_wall_times(tmp_path: Path, gpus: int, jobs: int) -> None:
    coming = forecast(study(tmp_path, "random", budget="gpu_hours = 8"), profile(gpus=gpus))
    assert coming.host_hours == jobs * 2 * 0.5


def test_a_profile_becomes_the_resources_of_one_job() -> None:
    place = profile(setup=["module load cuda"], environment={"A": "1"}, options={"partition": "gpu"})
    asked = resources(place)
    assert (asked.hosts, asked.gpus, asked.walltime_min, asked.max_jobs) == (2, 4, 30, 4)
    assert asked.setup == ("module load cuda",)
    assert (asked.environment, asked.options) == ({"A": "1"}, {"partition": "gpu"})


@pytest.mark.parametrize(
    ("metric", "direction", "said"),
    [
        ("val_loss", "maximize", 'val_loss is maximized: if less of it is better, give "minimize"'),
        ("arc/acc_norm", "minimize", 'arc/acc_norm is minimized: if more of it is better, give "maximize"'),
        ("val_loss", "minimize", None),
        ("arc/acc", "maximize", None),
        ("value", "maximize", None),
        ("glossary", "maximize", None),
    ],
)
def test_an_objective_that_goes_the_wrong_way_is_doubted(
    tmp_path: Path, metric: str, direction: str, said: str | None
) -> None:
    path = write_study(
        tmp_path,
        evaluation=COMMANDED,
        objective=f'[objective]\nmetric = "{metric}"\ndirection = "{direction}"\n',
        space=SPACED,
    )
    found = doubts(read_checked_study(path))
    assert found == ([] if said is None else [f"mind: {said}"])


def test_a_program_that_is_not_beside_the_study_is_found_before_launch(tmp_path: Path) -> None:
    evaluation = '[evaluation]\nkind = "command"\ncommand = ["python3", "train.py"]\n'
    path = write_study(tmp_path, evaluation=evaluation, space=SPACED)
    profile = str(write_profile(tmp_path))
    with pytest.raises(InputError, match=r"evaluation.command: train.py: there is no such file beside"):
        read_both(path, profile)
    (tmp_path / "train.py").touch()
    assert read_both(path, profile)
    elsewhere = evaluation.replace("train.py", "/nowhere/train.py")
    spec, *_ = read_both(write_study(tmp_path, evaluation=elsewhere, space=SPACED), profile)
    assert doubts(spec) == ["mind: /nowhere/train.py is not there, on this host at any rate"]


COMMANDED = '[evaluation]\nkind = "command"\ncommand = ["true"]\n'
SPACED = '[space]\nx = { type = "float", low = 0, high = 1 }\n'
