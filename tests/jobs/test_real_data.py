"""A model and data that nobody made for this program."""

from __future__ import annotations

from pathlib import Path

from jobs.prepare.prepare import prepare
from orchestrator.contract import LitGPTEvaluation
from tests.fakes.shared_data import shared_data
from tests.jobs.test_lora import measured


def test_a_pretrained_model_learns_instructions(tmp_path: Path) -> None:
    data = shared_data("llm")
    evaluation = LitGPTEvaluation.model_validate(
        {
            "kind": "litgpt",
            "model": str(data / "base"),
            "data": str(data / "sft" / "train.json"),
            "val_data": str(data / "sft" / "val.json"),
            "val_documents": 100,
            "steps": 20,
            "batch_size": 16,
            "max_length": 192,
            "precision": "fp32",
            "tasks": [
                {"name": "hellaswag_val", "file": str(data / "tasks/hellaswag_val.jsonl"), "limit": 50}
            ],
        }
    )
    cache = tmp_path / "cache"
    prepare(evaluation, cache, lambda _: None)
    base = measured(tmp_path / "base", evaluation, cache, configuration={})
    configuration = {"lora_rank": 8, "lora_alpha": 16, "learning_rate": 1e-2}
    tuned = measured(tmp_path / "tuned", evaluation, cache, configuration=configuration)
    stderr = base.metrics["val_loss"].stderr
    assert stderr is not None
    assert base.metrics["val_loss"].value - tuned.metrics["val_loss"].value > 5 * stderr
    assert tuned.metrics["hellaswag_val/acc"].n == 50
