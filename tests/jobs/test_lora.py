"""The litgpt evaluation as a whole: its stages, its metrics, and the adapter that outlives a requeue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs import evaluate as job
from jobs.attempt.failure import EvaluationFailed
from jobs.attempt.measured import Measured
from jobs.attempt.stages import Stages
from jobs.inputs import Prepared
from jobs.prepare.demo import Demo
from jobs.training import finetune
from orchestrator.contract import Assignment, Failure, LitGPTEvaluation, Outcome
from tests.jobs.attempts import attempt, litgpt, log, result, run

LORA = {"lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2}


def measured(directory: Path, evaluation: LitGPTEvaluation, cache: Path, **changes: Any) -> Measured:
    fields = {"configuration": LORA, "cache": str(cache), **changes}
    attempt(directory, evaluation.model_dump(mode="json"), **fields)
    assignment = Assignment.model_validate_json((directory / "trial.json").read_bytes())
    return job.measure(assignment, directory, Stages())


def test_a_compute_node_runs_it_offline(
    tmp_path: Path, evaluation: LitGPTEvaluation, prepared: Prepared, cache: Path
) -> None:
    metrics = ("val_loss", "train_loss", "kinds/acc")
    section = evaluation.model_dump(mode="json")
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    directory = attempt(tmp_path / "a", section, configuration=LORA, cache=str(cache), metrics=metrics)
    assert run(directory, HOME=str(home), HF_HUB_OFFLINE="0") == (0, "")
    found = result(directory)
    assert found.outcome is Outcome.OK, found.message
    assert set(found.seconds) == {"start", "imports", "load", "train", "validate", "score"}
    assert found.metrics["val_loss"].n == 24
    assert found.metrics["kinds/acc"].n == 20
    assert (found.metrics["val_loss"].stderr or 0) > 0
    assert found.device == "cpu, 1 threads"
    assert (found.peak_memory_bytes or 0) > 10**8
    assert {"torch", "litgpt", "lm_eval", "inputs", "adapter"} <= set(found.versions)
    assert "train: 4 steps of 8 samples" in log(directory)
    assert f"held out: 96 documents, 0 of them cut short at {evaluation.max_length} tokens" in log(directory)
    assert "it/s]" not in log(directory)  # bars are for terminals
    assert list(home.iterdir()) == []  # nothing in the user's home


def test_the_empty_configuration_is_the_untouched_base(
    tmp_path: Path, evaluation: LitGPTEvaluation, prepared: Prepared, cache: Path
) -> None:
    base = measured(tmp_path / "a", evaluation, cache, configuration={})
    assert set(base.metrics) == {"val_loss", "kinds/acc", "kinds/acc_norm"}
    assert "adapter" not in base.versions
    still = measured(tmp_path / "b", evaluation, cache, configuration={**LORA, "learning_rate": 1e-9})
    assert still.metrics["val_loss"].value == pytest.approx(base.metrics["val_loss"].value, abs=1e-5)
    assert still.metrics["kinds/acc"] == base.metrics["kinds/acc"]
    moved = measured(tmp_path / "c", evaluation, cache)
    assert abs(moved.metrics["val_loss"].value - base.metrics["val_loss"].value) > 1e-2
    asked = Assignment.model_validate_json((tmp_path / "a" / "trial.json").read_bytes())
    job.check_complete(asked.model_copy(update={"metrics": ("val_loss", "train_loss")}), base.metrics)


def test_a_requeued_attempt_uses_its_adapter(
    tmp_path: Path,
    evaluation: LitGPTEvaluation,
    prepared: Prepared,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trains: list[int] = []
    train = finetune.finetune

    def counted(*arguments: Any, **named: Any) -> finetune.Trained:
        trains.append(1)
        return train(*arguments, **named)

    monkeypatch.setattr(finetune, "finetune", counted)
    first = measured(tmp_path, evaluation, cache)
    again = measured(tmp_path, evaluation, cache)
    assert trains == [1]
    assert again == first
    other = measured(tmp_path, evaluation, cache, seed=12)  # an adapter of something else is not used
    assert trains == [1, 1]
    assert other.versions["adapter"] != first.versions["adapter"]


def test_training_that_changed_nothing_is_an_error(
    tmp_path: Path,
    evaluation: LitGPTEvaluation,
    prepared: Prepared,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finetune, "finetune", lambda *_, **__: finetune.Trained(1.0, 1, 1, 1.0))
    with pytest.raises(RuntimeError, match="changed no adapter weight"):
        measured(tmp_path, evaluation, cache)
    assert not (tmp_path / "checkpoint" / "adapter.pth").exists()


def test_what_is_not_prepared_is_missing_input(tmp_path: Path, base: Demo) -> None:
    with pytest.raises(EvaluationFailed, match="run `orchestrator prepare STUDY`") as raised:
        measured(tmp_path, litgpt(base), tmp_path / "empty")
    assert raised.value.failure is Failure.MISSING_INPUT


def test_fidelity_is_a_share_of_data_and_steps(
    tmp_path: Path, base: Demo, prepared: Prepared, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    train = finetune.finetune

    def counted(net: Any, samples: Any, recipe: Any, **named: Any) -> Any:
        seen.append((len(samples), recipe.steps))
        return train(net, samples, recipe, **named)

    monkeypatch.setattr(finetune, "finetune", counted)
    measured(tmp_path / "a", litgpt(base, fidelity=0.5), cache)
    measured(tmp_path / "b", litgpt(base), cache)
    assert seen == [(96, 2), (192, 4)]
