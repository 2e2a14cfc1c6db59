"""HumanEval as lm-eval ships it, over its real problems: asked for, run in the sandbox, scored."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from litgpt.tokenizer import Tokenizer

from jobs.attempt.failure import EvaluationFailed
from jobs.evaluations import litgpt as lora
from jobs.inputs.manifest import manifest_path
from jobs.model import lora as model
from jobs.prepare import stock_task
from jobs.prepare.demo import Demo
from jobs.prepare.prepare import prepare
from jobs.tasks import code_eval, sandbox, score, suites
from jobs.tasks.code_eval import CodeEval, pass_at
from jobs.tasks.language_model import LitGPTModel
from orchestrator.contract import Failure
from orchestrator.contract.evaluation import StockTask
from orchestrator.errors import InputError
from tests.fakes.shared_data import shared_data
from tests.jobs.attempts import litgpt

ASKED = StockTask(name="humaneval", limit=12, execute_code=True)


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The problems, in place of what the hub has under the name."""
    with gzip.open(shared_data("llm/tasks/HumanEval.jsonl.gz"), "rt") as file:
        rows = [json.loads(line) for line in file]
    whole = datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})
    monkeypatch.setattr(datasets, "load_dataset", lambda **_: whole)
    monkeypatch.setattr(stock_task, "stock_folders", lambda name: [name.partition("_")[0]])
    return rows


def scorer(base: Demo, answers: dict[str, str]) -> LitGPTModel:
    net = model.load(base.model, None, (), precision="fp32", seed=0, device=torch.device("cpu")).eval()
    scorer = LitGPTModel(net, Tokenizer(base.model), torch.device("cpu"), lambda _: None)
    scorer.generate_until = lambda requests, **_: [answers[one.args[0]] for one in requests]  # type: ignore[method-assign]
    return scorer


def test_programs_that_pass_their_tests_are_counted(problems: list[dict[str, str]], base: Demo) -> None:
    answers = {
        one["prompt"]: one["canonical_solution"] if n % 3 else "    return None\n"
        for n, one in enumerate(problems)
    }
    suite = suites.stock_suite(ASKED, ["humaneval"])
    with code_eval.running():
        found = score.task_scores(scorer(base, answers), [suite])
    assert found["humaneval/pass@1,create_test"].value == pytest.approx(8 / 12)
    assert found["humaneval/pass@1,create_test"].n == 12
    assert found["humaneval/pass@1,create_test"].stderr


def test_nothing_runs_where_a_study_is_prepared(
    problems: list[dict[str, str]], far_reading: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert problems

    def ran(*_: object) -> bool:
        raise AssertionError("a program was run")

    monkeypatch.setattr(sandbox, "passes", ran)
    evaluation = litgpt(far_reading, tasks=[ASKED.model_dump()])
    (task,) = prepare(evaluation, tmp_path / "cache", lambda _: None).tasks
    assert task.metrics == ("humaneval/pass@1,create_test",)
    without = litgpt(far_reading, tasks=[{"name": "humaneval"}])
    assert manifest_path(without, tmp_path) != manifest_path(evaluation, tmp_path)
    with pytest.raises(InputError, match=r"'humaneval': humaneval runs programs .*: add execute_code = true"):
        prepare(without, tmp_path / "cache", lambda _: None)


def test_tasks_that_run_programs_in_ways_of_their_own_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"'cruxeval': cruxeval runs programs .* not so that they can be walled"
    ):
        suites._require_consent(StockTask(name="cruxeval", execute_code=True), "cruxeval", ["cruxeval"])


def test_a_host_without_walls_ends_the_trial_before_anything_is_loaded(
    far_reading: Demo, tmp_path: Path, problems: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert problems
    evaluation = litgpt(far_reading, tasks=[ASKED.model_dump()])
    prepare(evaluation, tmp_path / "cache", lambda _: None)

    def missing(*_: object) -> bool:
        raise EvaluationFailed(Failure.MISSING_INPUT, "no walls")

    monkeypatch.setattr(sandbox, "passes", missing)
    with pytest.raises(EvaluationFailed, match="no walls"):
        lora._required(evaluation, tmp_path / "cache")


@pytest.mark.parametrize(
    ("k", "n", "right", "share"), [(1, 4, 1, 0.25), (2, 4, 1, 0.5), (4, 4, 1, 1), (3, 5, 0, 0)]
)
def test_pass_at_k_is_the_share_of_draws_with_one_that_passes(
    k: int, n: int, right: int, share: float
) -> None:
    assert pass_at(k, n, right) == pytest.approx(share)


def test_pass_at_k_is_the_mean_over_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "passes", lambda program: program.startswith("good"))
    one: Any = CodeEval()
    one.running = True
    found, _ = one.compute(["t", "t"], [["good", "bad"], ["bad", "bad"]], k=[1, 2, 3])
    assert found == {"pass@1": pytest.approx(0.25), "pass@2": pytest.approx(0.5)}
