"""One evaluation on several processes: the metrics of one process, and one end for all."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from jobs.prepare.demo import Demo
from jobs.prepare.prepare import prepare
from jobs.processes.group import ALONE
from orchestrator.contract import Failure, LitGPTEvaluation, Outcome, Result
from tests.jobs.attempts import ROOT, attempt, litgpt, log, result, run, start

LORA = {"lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2}
HERE = {"PYTHONPATH": str(ROOT), "ORCHESTRATOR_DEVICE": "cpu", "ORCHESTRATOR_PROCESSES": "2"}


@pytest.fixture(scope="module")
def ready(base: Demo, cache: Path) -> LitGPTEvaluation:
    evaluation = litgpt(base, steps=4, batch_size=7, val_documents=15)
    prepare(evaluation, cache, lambda _: None)
    return evaluation


@pytest.fixture
def assigned(tmp_path: Path, ready: LitGPTEvaluation, cache: Path) -> Any:
    def made(name: str, **changes: Any) -> Path:
        section = {**ready.model_dump(mode="json"), **changes.pop("evaluation", {})}
        fields = {"configuration": LORA, "cache": str(cache), "metrics": ["val_loss"], **changes}
        return attempt(tmp_path / name, section, **fields)

    return made


def adapter(directory: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(directory / "checkpoint/adapter.pth")["adapter"]
    return found


def worst(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def assert_gone(directory: Path, seconds: float = 5.0) -> None:
    """No process of the attempt lives, soon."""
    end = time.monotonic() + seconds

    def alive() -> list[list[str]]:
        found = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
        return [argv for argv in found if any(str(directory) in word for word in argv)]

    while alive():
        assert time.monotonic() < end, alive()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory, ready: LitGPTEvaluation, cache: Path) -> Path:
    """The attempt, by one process."""
    fields = {"configuration": LORA, "cache": str(cache), "metrics": ["val_loss"]}
    directory = attempt(tmp_path_factory.mktemp("one"), ready.model_dump(mode="json"), **fields)
    assert run(directory, **{**HERE, "ORCHESTRATOR_PROCESSES": "1"}) == (0, ""), log(directory)
    return directory


@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_find_what_one_finds(assigned: Any, by_one: Path, *, sharded: bool) -> None:
    one, two = by_one, assigned("two", evaluation={"sharded": sharded})
    assert run(two, **HERE) == (0, ""), log(two)
    alone, together = result(one), result(two)
    assert (alone.outcome, together.outcome) == (Outcome.OK, Outcome.OK)
    assert worst(adapter(one), adapter(two)) < 1e-4
    assert together.metrics.keys() == alone.metrics.keys()
    for name in ("train_loss", "val_loss", "kinds/acc", "kinds/acc_norm"):
        expected, found = alone.metrics[name], together.metrics[name]
        assert found.value == pytest.approx(expected.value, abs=1e-4)
        assert found.n == expected.n
        assert found.stderr == (expected.stderr and pytest.approx(expected.stderr, abs=1e-4))
    assert together.trained == 1.0
    assert ("in shards" in (two / "ranks/0.log").read_text()) is sharded
    assert {"imports", "load", "train", "validate", "score"} <= together.seconds.keys()
    assert together.versions["inputs"] == alone.versions["inputs"]
    assert_gone(two)


def harmed(directory: Path, how: str, rank: int = 1, at: int = 2) -> Result:
    harm = {"HARM": how, "HARMED_RANK": str(rank), "HARMED_AT": str(at)}
    process = start(directory, "tests.jobs.harmed", **harm, **HERE)
    assert process.communicate(timeout=120)[1] == ""
    assert_gone(directory)
    return result(directory)


def test_what_one_finds_not_finite_is_divergence_for_all_at_that_step(assigned: Any) -> None:
    directory = assigned("nan")
    found = harmed(directory, "nan")
    assert found.failure is Failure.DIVERGED
    assert "the training loss is nan at step 3 of 4" in found.message
    for rank in (0, 1):  # each by itself, not because another has gone
        report = (directory / "ranks").glob(f"*.{rank}.json")
        assert "the training loss is nan at step 3 of 4" in next(report).read_text()
    assert list((directory / "checkpoint").glob("*")) == []


@pytest.mark.parametrize(
    ("how", "rank", "failure", "words"),
    [
        ("kill", 0, Failure.KILLED, "the evaluation: rank 0 on .* was killed by signal 9"),
        ("error", 1, Failure.PROGRAM_ERROR, "rank 1 on .*: RuntimeError: this rank is broken"),
    ],
)
def test_the_process_that_failed_first_is_named(
    assigned: Any, how: str, rank: int, failure: Failure, words: str
) -> None:
    found = harmed(assigned(how), how, rank)
    assert found.failure is failure
    assert re.search(words, found.message), found.message
    assert "load" in found.seconds


def test_an_interruption_changes_no_bit(assigned: Any, tmp_path: Path) -> None:
    shared = str(tmp_path / "shared")
    dropout = {"configuration": {**LORA, "lora_dropout": 0.3}}
    directory = assigned("first", **dropout, checkpoint=shared)
    process = start(directory, "tests.jobs.harmed", HARM="hold", HARMED_AT="1", **HERE)
    while len(list(directory.glob("held-*"))) < 2:
        assert process.poll() is None, log(directory)
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    assert_gone(directory)
    assert not (directory / "result.json").exists()
    assert [path.name[-13:] for path in Path(shared).iterdir()] == ["000000002.pth"]
    second, whole = assigned("second", attempt=3, **dropout, checkpoint=shared), assigned("whole", **dropout)
    assert run(second, **HERE) == run(whole, **HERE) == (0, "")
    assert "goes on after step 2 of 4" in (second / "ranks/0.log").read_text()
    assert result(second).versions["adapter"] == result(whole).versions["adapter"]
    for name in ("train_loss", "val_loss", "kinds/acc"):
        assert result(second).metrics[name] == result(whole).metrics[name]


@pytest.mark.parametrize("asked", ["0", "two", "-1"])
def test_a_number_of_processes_that_is_none_is_named(assigned: Any, asked: str) -> None:
    directory = assigned("odd")
    assert run(directory, **{**HERE, "ORCHESTRATOR_PROCESSES": asked}) == (0, "")
    assert f"ORCHESTRATOR_PROCESSES is {asked!r}" in result(directory).message


def test_one_process_has_no_shards(assigned: Any) -> None:
    directory = assigned("one", evaluation={"sharded": True})
    assert run(directory, **{**HERE, "ORCHESTRATOR_PROCESSES": "1"}) == (0, "")
    assert "this trial has one process to keep the weights: give it more GPUs" in result(directory).message


def test_alone_nothing_is_sent() -> None:
    assert ALONE.share("abc") == ["a", "b", "c"]
    assert ALONE.gathered(1) == [1]
    assert ALONE.from_leader("x") == "x"
    tensor = torch.ones(2)
    ALONE.add([tensor])
    assert tensor.tolist() == [1, 1]
