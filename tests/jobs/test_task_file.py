"""Tasks of one's own in lm-eval's YAML: with generated text, few-shot examples, filters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from litgpt.tokenizer import Tokenizer

from jobs.model import lora
from jobs.prepare.demo import Demo
from jobs.prepare.prepare import prepare
from jobs.prepare.task_file import freeze_task, sources
from jobs.tasks import suites
from jobs.tasks.language_model import LitGPTModel
from jobs.tasks.score import task_scores
from orchestrator.contract import LitGPTEvaluation
from orchestrator.contract.evaluation import TaskFile
from orchestrator.contract.files import dumps
from orchestrator.errors import InputError
from tests.jobs.attempts import litgpt

SUMS: dict[str, Any] = {
    "task": "sums",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "test.jsonl", "train": "train.jsonl"}},
    "test_split": "test",
    "fewshot_split": "train",
    "output_type": "generate_until",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["Question:"], "max_gen_toks": 6, "do_sample": False},
    "filter_list": [
        {
            "name": "number",
            "filter": [{"function": "regex", "regex_pattern": "(-?[0-9]+)"}, {"function": "take_first"}],
        }
    ],
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 1.0},
}


def written(folder: Path, **changes: Any) -> TaskFile:
    folder.mkdir(parents=True, exist_ok=True)
    for name, first in (("test", 0), ("train", 50)):
        lines = [dumps({"question": f"{n} + 1", "answer": str(n + 1)}) for n in range(first, first + 9)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    content = {key: value for key, value in {**SUMS, **changes}.items() if value is not None}
    (folder / "sums.yaml").write_text(yaml.safe_dump(content))
    return TaskFile(name="sums", yaml=str(folder / "sums.yaml"), num_fewshot=2, limit=5)


def test_text_is_written_and_held_against_the_answer(tmp_path: Path, base: Demo) -> None:
    task = written(tmp_path / "own")
    ready = freeze_task(task, tmp_path / "cache")
    assert sources(task) == [tmp_path / "own" / name for name in ("sums.yaml", "test.jsonl", "train.jsonl")]
    for path in sources(task):  # a host reads the frozen copy
        path.unlink()
    net = lora.load(base.model, None, (), precision="fp32", seed=0, device=torch.device("cpu")).eval()
    scorer = LitGPTModel(net, Tokenizer(base.model), torch.device("cpu"), lambda _: None)
    asked: list[str] = []
    scorer.generate_until = lambda requests, **_: [answer(one.args[0], asked) for one in requests]  # type: ignore[method-assign]
    found = task_scores(scorer, [suites.stock_suite(task, ready.folders)])
    assert found["sums/exact_match,number"].value == pytest.approx(3 / 5)
    assert found["sums/exact_match,number"].n == 5
    assert [text.count("Question:") for text in asked] == [3] * 5  # two examples of the other split
    assert all("Question: 5" in text for text in asked)
    assert freeze_task(written(tmp_path / "own"), tmp_path / "cache") == ready


def answer(text: str, asked: list[str]) -> str:
    asked.append(text)
    number = int(text.rsplit("Question: ", 1)[1].split(" ", maxsplit=1)[0])
    return f"It is {number + 1}." if number < 3 else "None."


def test_a_study_prepares_it_and_is_told_of_a_change(tmp_path: Path, base: Demo, cache: Path) -> None:
    task = written(tmp_path / "own")
    evaluation = litgpt(base, tasks=[task.model_dump(mode="json")])
    assert isinstance(evaluation.tasks[0], TaskFile)
    told: list[str] = []
    first = prepare(evaluation, cache, told.append)
    assert first.tasks[0].metrics == ("sums/exact_match,number",)
    written(tmp_path / "own", doc_to_text="{{question}} =")
    assert prepare(evaluation, cache, told.append).digest != first.digest


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "other"}, "is the task 'other': give it as name"),
        ({"dataset_path": "openai/gsm8k"}, "dataset_path is 'openai/gsm8k': give one of json, csv"),
        ({"dataset_kwargs": None}, "names no files"),
        ({"dataset_kwargs": {"data_files": {"test": ["a", "b"]}}}, "names no files"),
        ({"dataset_kwargs": {"data_files": {"test": "gone.jsonl"}}}, "gone.jsonl: no such file"),
        ({"include": "base.yaml"}, "write out what it includes"),
    ],
)
def test_what_cannot_be_taken_over_is_told(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        freeze_task(written(tmp_path / "own", **changes), tmp_path / "cache")
    assert str(tmp_path / "own" / "sums.yaml") in str(raised.value)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("text", ["a: !function f.g", "- 1", "{", None])
def test_a_file_that_is_no_task_is_told(tmp_path: Path, text: str | None) -> None:
    task = written(tmp_path / "own")
    Path(task.yaml).unlink()
    if text is not None:
        Path(task.yaml).write_text(text)
    with pytest.raises(InputError, match=r"sums\.yaml: (cannot be read|is no whole task|no such file)"):
        freeze_task(task, tmp_path / "cache")


def test_its_metrics_may_be_searched(base: Demo, tmp_path: Path) -> None:
    evaluation: LitGPTEvaluation = litgpt(base, tasks=[{"name": "sums", "yaml": "x.yaml"}])
    assert evaluation.gives("sums/exact_match,number")
    assert not any(evaluation.gives(name) for name in ("sums", "sums/", "other/acc"))
