"""The main job on a real model, real data and a real SLURM cluster; and what a missing model does to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.clusters.slurm import SlurmCluster
from tests.fakes.shared_data import shared_data
from tests.fakes.studies import PROFILE, SLURM_PROFILE, orchestrator, points_of, run_study, write_profile

STUDY = """
name = "study"
seed = 1
include_base = {base}
[budget]
evaluations = {evaluations}
[algorithm]
name = "bamsoo"
[objective]
metric = "val_loss"
direction = "minimize"
report = ["hellaswag/acc"]
[space]
lora_rank = {{ type = "int", low = 2, high = 32, log = true }}
lora_alpha = {{ type = "int", low = 4, high = 64, log = true }}
learning_rate = {{ type = "float", low = 1e-5, high = 1.0, log = true }}
lora_dropout = 0.0
[evaluation]
kind = "litgpt"
model = "{llm}/base"
data = "{llm}/sft/train.json"
val_data = "{llm}/sft/val.json"
val_documents = 50
steps = 8
batch_size = 8
max_length = 128
precision = "fp32"
tasks = [{{ name = "hellaswag", file = "{llm}/tasks/hellaswag_val.jsonl", limit = 100 }}]
"""


def prepared_study(
    shared: Path, profile: str, llm: Path, *, evaluations: int = 1, base: bool = False
) -> Path:
    study = shared / "study.toml"
    study.write_text(STUDY.format(evaluations=evaluations, base=str(base).lower(), llm=llm))
    path = write_profile(shared, profile)
    done = orchestrator("prepare", study, "--profile", path, cwd=shared)
    assert done.returncode == 0, done.stderr
    return study


def test_a_bamsoo_study_of_lora_trials_is_the_same_on_slurm_and_here(
    tmp_path: Path, slurm: SlurmCluster
) -> None:
    llm = shared_data("llm")
    runs = {}
    for name, profile in (
        ("local", PROFILE.replace("max_jobs = 3", "max_jobs = 2")),
        ("slurm", SLURM_PROFILE),
    ):
        (tmp_path / name).mkdir()
        study = prepared_study(tmp_path / name, profile, llm, evaluations=4, base=True)
        runs[name] = run_study(tmp_path / name, study)
        assert runs[name].code == 0, runs[name].errors
    here, there = runs["local"].history, runs["slurm"].history
    assert len(there.spent) == 4
    searched = [p for p in points_of(there) if p[0] is not None]
    assert [p[:3] for p in searched] == [p[:3] for p in points_of(here) if p[0] is not None]
    for ours, theirs in zip(here.trials, there.trials, strict=True):
        mine, other = here.evaluation(ours), there.evaluation(theirs)
        assert mine is not None
        assert other is not None
        assert mine.failure == other.failure
        for metric in ("val_loss", "hellaswag/acc"):
            assert mine.metrics.get(metric) == other.metrics.get(metric)
    # It was a search of something: the best is far better than the untouched model.
    base = there.evaluation(there.trials[0])
    assert base is not None
    losses = [e.metrics["val_loss"] for t in there.spent if (e := there.evaluation(t)) and not e.failure]
    untouched = base.metrics["val_loss"]
    assert min(loss.value for loss in losses) < untouched.value - 5 * (untouched.stderr or 1)


def test_a_base_model_that_vanished_stops_the_study_with_one_line(tmp_path: Path) -> None:
    llm = tmp_path / "llm"
    for part in ("base", "sft", "tasks"):
        shutil.copytree(shared_data("llm") / part, llm / part)
    study = prepared_study(tmp_path, PROFILE, llm)
    profile = tmp_path / "profile.toml"
    shutil.move(llm / "base", llm / "elsewhere")
    refused = orchestrator("launch", study, "--profile", profile, cwd=tmp_path)
    assert refused.returncode == 2
    assert f"{llm}/base" in refused.stderr
    assert "orchestrator prepare" in refused.stderr
    # … and if it vanishes between launch and job:
    shutil.move(llm / "elsewhere", llm / "base")
    vanishing = f"max_jobs = 1\nsetup = ['mv {llm}/base {llm}/elsewhere']"
    write_profile(tmp_path, PROFILE.replace("max_jobs = 3", vanishing))
    stopped = run_study(tmp_path, study)
    assert stopped.code == 1
    [line] = stopped.errors.strip().splitlines()
    assert "missing_input" in line
    assert "orchestrator prepare" in line
    # Resuming is refused until it is back.
    refused = orchestrator("resume", stopped.path, cwd=tmp_path)
    assert refused.returncode == 2
    assert "orchestrator prepare" in refused.stderr
    shutil.move(llm / "elsewhere", llm / "base")
    shutil.copy(profile, stopped.path / "profile.toml")
    mended = (stopped.path / "profile.toml").read_text().replace("mv ", "true ")
    (stopped.path / "profile.toml").write_text(mended)
    assert run_study(tmp_path, study, resume=True).code == 0


def test_data_that_were_prepared_anew_since_launch_are_not_resumed_on(tmp_path: Path) -> None:
    data = tmp_path / "llm" / "sft" / "train.json"
    shutil.copytree(shared_data("llm"), tmp_path / "llm")
    study = prepared_study(tmp_path, PROFILE, tmp_path / "llm")
    run = run_study(tmp_path, study, fault="before-submitting:1")
    data.write_text(json.dumps(json.loads(data.read_text())[:500]))
    prepared_study(tmp_path, PROFILE, tmp_path / "llm")
    refused = orchestrator("resume", run.path, cwd=tmp_path)
    assert refused.returncode == 2
    assert "prepared anew since launch" in refused.stderr


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
