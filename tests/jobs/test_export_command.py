"""`orchestrator export`: which trial is meant, where it goes, what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs.inputs import Prepared
from jobs.prepare.demo import Demo
from orchestrator.cli.program import app
from orchestrator.contract import LitGPTEvaluation
from orchestrator.contract.assignment import Configuration
from orchestrator.record import RunDirectory
from tests.fakes.builders import Story
from tests.jobs.families import LORA, adapter

STUDY = """
name = "study"
seed = 1
include_base = true
keep_adapters = 1
[budget]
evaluations = 5
[algorithm]
name = "lhs"
[objective]
metric = "val_loss"
direction = "minimize"
[space]
lora_rank = 3
lora_alpha = 7.5
lora_dropout = 0.1
learning_rate = {{ type = "float", low = 1e-3, high = 1e-1 }}
[evaluation]
"""


@pytest.fixture
def run(
    tmp_path: Path, base: Demo, cache: Path, evaluation: LitGPTEvaluation, prepared: Prepared
) -> RunDirectory:
    """Trial 0 is the base; 1 scored worse, 2 best; 3 shares its score; 4 failed; 5 waits."""
    (tmp_path / "cache").symlink_to(cache)
    directory = RunDirectory(tmp_path / "runs" / "study")
    section = evaluation.model_dump(mode="json", exclude_none=True, exclude={"tasks"})
    tasks = [task.model_dump(mode="json", exclude_none=True) for task in evaluation.tasks]
    inline = "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in tasks[0].items()) + "}"
    text = STUDY.replace("{{", "{").replace("}}", "}")
    text += (
        "".join(f"{key} = {json.dumps(value)}\n" for key, value in section.items()) + f"tasks = [{inline}]\n"
    )
    what, _ = adapter(directory.checkpoint(2), base.model, evaluation.lora_layers)
    versions = {"adapter": what.digest, "inputs": prepared.digest[:16], "litgpt": "0"}
    story = Story(
        objective={"metric": "val_loss", "direction": "minimize", "report": []},
        inputs=prepared.digest,
        text=text,
        path=str(tmp_path / "study.toml"),
    )
    rest: list[Configuration] = [{**LORA, "learning_rate": rate} for rate in (0.05, 0.01, 0.01, 0.09, 0.02)]
    story.ask(*rest, base=True, shares={2: 2}).submit((0, 1), (1, 1), (2, 1), (4, 1))
    for trial, loss in ((0, 4.0), (1, 3.0), (2, 2.5)):
        metrics = {"val_loss": {"value": loss, "stderr": 0.1}}
        story._evaluate(trial, {"outcome": "ok", "metrics": metrics, "versions": versions})
    story.fail(4, "diverged")
    story.write(directory.path)
    directory.study.write_text(text)
    return directory


def command(run: RunDirectory, *words: str) -> Any:
    return CliRunner().invoke(app, ["export", str(run.path), *words])


def test_the_command_writes_the_best_and_says_what_it_is(run: RunDirectory, prepared: Prepared) -> None:
    done = command(run, "--format", "litgpt")
    assert done.exit_code == 0, done.output
    out = run.path / "exports" / "0002-litgpt"
    assert done.output.strip() == f"trial 2, val_loss 2.50 ± 0.10, as litgpt: {out}"
    assert {path.stat().st_mode & 0o600 for path in out.iterdir()} == {0o600}
    facts = json.loads((out / "orchestrator.json").read_text())
    assert facts["trial"] == 2
    assert facts["configuration"]["learning_rate"] == 0.01
    assert facts["metrics"]["val_loss"]["value"] == 2.5
    assert facts["base_model_path"] == prepared.model
    assert facts["digests"]["inputs"] == prepared.digest
    again = command(run, "--format", "litgpt")
    assert again.exit_code == 2
    [line] = again.stderr.splitlines()
    assert "exists already" in line
    elsewhere = run.path.parent / "shared"
    assert command(run, "--adapter", "3", "--format", "litgpt", "--out", str(elsewhere)).exit_code == 0
    assert json.loads((elsewhere / "orchestrator.json").read_text())["trial"] == 2


def test_the_command_says_why_a_trial_has_none(run: RunDirectory, prepared: Prepared) -> None:
    for which, told in (
        ("0", "the untouched base model"),
        ("1", "keep_adapters = 1 in the study keeps those of the best: trials 2"),
        ("4", "has no score (diverged)"),
        ("5", "has no score (waiting)"),
        ("6", "no such trial"),
        ("beast", 'give "best" or 0 to 5'),
    ):
        done = command(run, "--adapter", which, "--format", "peft")
        assert done.exit_code == 2, which
        [line] = done.stderr.splitlines()
        assert told in line
    assert not (run.path / "exports").exists()
