"""An interrupted training goes on where it was, and comes to the same bits."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jobs import evaluate as job
from jobs.attempt.failure import EvaluationFailed
from jobs.attempt.interruption import Interrupted, Interruption
from jobs.attempt.measured import Measured
from jobs.attempt.stages import Stages
from jobs.model import loss
from jobs.prepare.demo import Demo
from jobs.prepare.prepare import prepare
from orchestrator.contract import Assignment, Failure, LitGPTEvaluation, Outcome, Result
from tests.jobs.attempts import attempt, litgpt, log, result, run, start

STEPS = 8
LORA = {"lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2, "lora_dropout": 0.2}


class Given(NamedTuple):
    evaluation: LitGPTEvaluation
    cache: Path


@pytest.fixture(scope="module")
def given(base: Demo, cache: Path) -> Given:
    evaluation = litgpt(base, steps=STEPS, tasks=[])
    prepare(evaluation, cache, lambda _: None)
    return Given(evaluation, cache)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, given: Given) -> Result:
    directory = assigned(tmp_path_factory.mktemp("undisturbed"), given)
    assert run(directory) == (0, "")
    found = result(directory)
    assert (found.outcome, found.trained) == (Outcome.OK, 1.0)
    return found


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The trial's checkpoint directory: somebody makes it when it is needed."""
    return tmp_path / "trial" / "checkpoint"


def assigned(directory: Path, given: Given, **changes: Any) -> Path:
    fields = {"configuration": LORA, "cache": str(given.cache), "metrics": ["val_loss"], **changes}
    return attempt(directory, given.evaluation.model_dump(mode="json"), **fields)


def ended(directory: Path, at: int, number: signal.Signals | None, **variables: str) -> int:
    """Exit code of an attempt that is sent `number` in the middle of step `at`."""
    process = start(directory, "tests.jobs.held", HELD_AT=str(at), **variables)
    while not (directory / "held").exists():
        assert process.poll() is None, log(directory)
        time.sleep(0.05)
    if number is not None:
        process.send_signal(number)
    process.communicate(timeout=120)
    return process.returncode


def names(folder: Path) -> list[str]:
    """Of what is kept, without the key."""
    return sorted(path.name.partition("-")[0] + path.stem[-3:] for path in folder.iterdir())


def assert_equal(found: Result, expected: Result) -> None:
    assert found.outcome is Outcome.OK, found.message
    assert found.versions["adapter"] == expected.versions["adapter"]
    for name in ("train_loss", "val_loss"):
        assert found.metrics[name] == expected.metrics[name]


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGUSR2), (signal.SIGUSR1, signal.SIGTERM)])
def test_two_interruptions_change_no_bit(
    tmp_path: Path,
    shared: Path,
    given: Given,
    undisturbed: Result,
    numbers: tuple[signal.Signals, signal.Signals],
) -> None:
    attempts = [assigned(tmp_path / str(n), given, attempt=n, checkpoint=str(shared)) for n in (1, 2, 3)]
    assert ended(attempts[0], 3, numbers[0]) == 143
    assert names(shared) == ["training003"]
    assert ended(attempts[1], 5, numbers[1]) == 143
    assert names(shared) == ["training005"]
    assert "goes on after step 3 of 8" in log(attempts[1])
    for directory in attempts[:2]:
        assert not (directory / "result.json").exists()
        assert "Traceback" not in log(directory)
    assert run(attempts[2]) == (0, "")
    assert "goes on after step 5 of 8" in log(attempts[2])
    assert_equal(result(attempts[2]), undisturbed)
    assert [path.name for path in shared.iterdir()] == ["adapter.pth"]


def test_the_wall_time_is_told_with_what_was_reached(
    tmp_path: Path, shared: Path, given: Given, undisturbed: Result
) -> None:
    first = assigned(tmp_path / "1", given, checkpoint=str(shared), walltime_min=0.4)
    assert ended(first, 6, None) == 0
    found = result(first)
    assert (found.failure, found.trained) == (Failure.WALLTIME, 6 / STEPS)
    assert "'train' with 75.0% of the training saved" in found.message
    second = assigned(tmp_path / "2", given, checkpoint=str(shared))
    assert run(second) == (0, "")
    assert_equal(result(second), undisturbed)


def test_a_power_cut_costs_what_came_after_the_last_state(
    tmp_path: Path, given: Given, undisturbed: Result
) -> None:
    directory = assigned(tmp_path, given)
    assert ended(directory, 5, signal.SIGKILL, HELD_EVERY_S="0", SLURM_JOB_ID="7") == -signal.SIGKILL
    assert names(directory / "checkpoint") == ["training005"]
    assert run(directory, SLURM_JOB_ID="7") == (0, "")  # requeued
    assert "goes on after step 5 of 8" in log(directory)
    assert_equal(result(directory), undisturbed)


# -- the same within one process, where no signal is needed --------------------------------------------------


class At(Interruption):
    """Announced by the training itself, when it asks for the n-th time: twice a step."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        self.left = asked

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.announce(0.0)
        super().check()


def measured(directory: Path, given: Given, stages: Stages | None = None, **changes: Any) -> Measured:
    assigned(directory, given, **changes)
    assignment = Assignment.model_validate_json((directory / "trial.json").read_bytes())
    return job.measure(assignment, directory, stages or Stages())


def interrupted(directory: Path, given: Given, step: int, **changes: Any) -> Stages:
    stages = Stages(interruption=At(2 * step + 2))
    with pytest.raises(Interrupted):
        measured(directory, given, stages, **changes)
    return stages


def adapter(found: Measured) -> str:
    return found.versions["adapter"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, given: Given) -> Measured:
    return measured(tmp_path_factory.mktemp("whole"), given)


@pytest.mark.parametrize("damage", ["torn", "empty", "no state"])
def test_a_state_that_cannot_be_read_is_not_used(
    tmp_path: Path,
    given: Given,
    whole: Measured,
    damage: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert interrupted(tmp_path, given, step=4).trained == 4 / STEPS
    (state,) = (tmp_path / "checkpoint").iterdir()
    content = state.read_bytes()
    state.write_bytes({"torn": content[: len(content) // 2], "empty": b""}.get(damage, b"{}"))
    assert adapter(measured(tmp_path, given)) == adapter(whole)
    said = capsys.readouterr().out
    assert f"{state} is not used: " in said
    assert "goes on after" not in said


def test_an_adapter_that_cannot_be_read_is_trained_again(
    tmp_path: Path, given: Given, whole: Measured
) -> None:
    measured(tmp_path, given)
    kept = tmp_path / "checkpoint" / "adapter.pth"
    kept.write_bytes(kept.read_bytes()[:-100])
    assert adapter(measured(tmp_path, given)) == adapter(whole)


@pytest.mark.parametrize("what", [{"seed": 12}, {"configuration": {**LORA, "lora_dropout": 0.1}}])
def test_the_state_of_something_else_is_not_used(
    tmp_path: Path,
    given: Given,
    whole: Measured,
    what: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupted(tmp_path, given, step=4, **what)
    assert adapter(measured(tmp_path, given)) == adapter(whole)
    assert "goes on after" not in capsys.readouterr().out


def test_a_slower_copy_neither_replaces_nor_disturbs_a_faster_one(
    tmp_path: Path, shared: Path, given: Given, whole: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    place: dict[str, Any] = {"checkpoint": str(shared)}
    interrupted(tmp_path / "1", given, step=2, **place)
    (early,) = shared.iterdir()
    content = early.read_bytes()
    interrupted(tmp_path / "2", given, step=3, **place)  # three steps further
    early.write_bytes(content)  # as the slower copy does, whenever it comes to it
    stages = Stages()
    assert adapter(measured(tmp_path / "3", given, stages, **place)) == adapter(whole)
    assert "goes on after step 5 of 8" in capsys.readouterr().out
    assert stages.trained == 1.0
    early.write_bytes(content)
    (shared / f".{early.name}.elsewhere-7").write_bytes(content[:9])  # killed while it wrote
    assert adapter(measured(tmp_path / "4", given, **place)) == adapter(whole)
    assert [path.name for path in shared.iterdir()] == ["adapter.pth"]


def test_the_training_loss_counts_steps_from_before_the_interruption(
    tmp_path: Path, base: Demo, cache: Path
) -> None:
    long = Given(litgpt(base, steps=20, tasks=[]), cache)  # the loss is that of the last two
    whole = measured(tmp_path / "whole", long)
    interrupted(tmp_path / "a", long, step=19)
    found = measured(tmp_path / "a", long)
    assert found.metrics["train_loss"] == whole.metrics["train_loss"]
    assert found.metrics["train_loss"].n == 16


def test_a_state_that_cannot_be_written_costs_no_training(
    tmp_path: Path,
    given: Given,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    stages = interrupted(tmp_path / "1", given, step=4, checkpoint=str(tmp_path / "file" / "x"))
    assert stages.trained == 0.0
    assert "the state after step 4 is not saved: [Errno 20] Not a directory" in capsys.readouterr().out


def test_nothing_is_kept_of_what_diverged(
    tmp_path: Path, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path, given, step=4)
    losses = loss.sample_losses
    monkeypatch.setattr(loss, "sample_losses", lambda *arguments: losses(*arguments) * float("nan"))
    with pytest.raises(EvaluationFailed, match="nan at step 5 of 8"):
        measured(tmp_path, given)
    assert list((tmp_path / "checkpoint").iterdir()) == []
