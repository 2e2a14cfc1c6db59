"""The command line as a user meets it: words, exit codes, and what it leaves on disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes.studies import (
    PROFILE,
    ledger_of,
    orchestrator,
    run_study,
    write_command_study,
    write_profile,
    write_synthetic_study,
)

COMMANDS = (
    "init",
    "check",
    "doctor",
    "prepare",
    "launch",
    "resume",
    "tick",
    "status",
    "watch",
    "tree",
    "queue",
    "cancel",
    "enqueue",
    "report",
    "export",
    "profiles",
    "algorithms",
)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """What a refusal says; exit code 2 and no traceback."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_help_names_every_command_and_the_exit_codes(tmp_path: Path) -> None:
    text = orchestrator("--help", cwd=tmp_path).stdout
    assert [name for name in COMMANDS if name not in text] == []
    assert "130 interrupted and resumable" in text
    for name in COMMANDS:
        assert orchestrator(name, "--help", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    "module", ["orchestrator.cli.program", "orchestrator.views.status", "orchestrator.executors"]
)
def test_what_answers_at_once_loads_no_heavy_library(module: str) -> None:
    heavy = ("torch", "submitit", "pandas", "numpy")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_status_and_queue_load_no_torch(tmp_path: Path) -> None:
    run = run_study(tmp_path, write_synthetic_study(tmp_path))
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "torch.py").write_text("raise SystemExit('torch was imported')")
    for command in ("status", "queue"):
        done = orchestrator(command, run.path, cwd=tmp_path, environment={"PYTHONPATH": str(trap)})
        assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize("template", ["quickstart", "llama-lora", "command"])
def test_each_template_is_a_valid_study(tmp_path: Path, template: str) -> None:
    assert orchestrator("init", "mine", "--template", template, cwd=tmp_path).returncode == 0
    done = orchestrator("check", "mine/study.toml", "--profile", "local", cwd=tmp_path)
    # Only what `prepare` would bring may be missing.
    assert done.returncode == 0 or "orchestrator prepare" in refused(done)
    assert "exists already" in refused(orchestrator("init", "mine", "--template", template, cwd=tmp_path))


def test_the_command_template_runs_from_init_to_report(tmp_path: Path) -> None:
    orchestrator("init", ".", "--template", "command", cwd=tmp_path)
    study = tmp_path / "study.toml"
    study.write_text(
        study.read_text().replace("evaluations = 30", "evaluations = 4").replace("bamsoo", "soo")
    )
    shown = orchestrator("check", "study.toml", "--profile", "local", cwd=tmp_path)
    assert "momentum = 0.9" in shown.stdout
    assert "host-hours" in shown.stdout
    launched = orchestrator("launch", "study.toml", "--profile", "local", cwd=tmp_path)
    assert launched.returncode == 0, launched.stderr
    assert "★" in launched.stdout
    report = json.loads(orchestrator("report", "my-command", "--json", cwd=tmp_path).stdout)
    assert "## Best configuration" in Path(report["report"]).read_text()


def test_status_speaks_json_with_the_incumbent_and_every_trial(tmp_path: Path) -> None:
    run = run_study(tmp_path, write_synthetic_study(tmp_path, evaluations=5))
    facts = json.loads(orchestrator("status", run.path, "--json", cwd=tmp_path).stdout)
    assert (facts["state"], facts["evaluated"], facts["failed"]) == ("done", 5, 0)
    assert [trial["trial"] for trial in facts["trials"]] == [0, 1, 2, 3, 4]
    values = [trial["metrics"]["value"]["value"] for trial in facts["trials"]]
    assert facts["incumbent"]["metrics"]["value"]["value"] == min(values)
    queue = json.loads(orchestrator("queue", run.path, "--json", cwd=tmp_path).stdout)
    assert (queue["jobs"], queue["master_jobs"]) == ([], [])
    assert queue["host_hours"]["lost"] == 0


def test_queue_shows_the_jobs_under_way(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path, algorithm="lhs", evaluations=3, seconds=8)
    launched = orchestrator("launch", study, "--profile", tmp_path / "profile.toml", "--detach", cwd=tmp_path)
    assert launched.returncode == 0, launched.stderr
    while not any(record["kind"] == "submitted" for record in ledger_of(tmp_path)):
        time.sleep(0.05)
    rows = json.loads(orchestrator("queue", tmp_path / "runs/study", "--json", cwd=tmp_path).stdout)["jobs"]
    assert [row["trial"] for row in rows] == [0, 1, 2]
    assert {row["attempt"] for row in rows} == {1}
    second = orchestrator("resume", tmp_path / "runs/study", cwd=tmp_path)
    assert "a master runs this study already: host " in refused(second)
    assert "pid" in second.stderr
    assert "since 20" in second.stderr
    watched = orchestrator("watch", tmp_path / "runs/study", cwd=tmp_path)
    assert watched.returncode == 0
    assert "3 of 3 evaluated" in watched.stdout


def test_problems_of_study_and_profile_come_in_one_report(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path)
    study.write_text(study.read_text().replace("branin", "brainin").replace("seed = 5", "seed = -5"))
    text = refused(orchestrator("launch", study, "--profile", "slurn", cwd=tmp_path))
    for words in ('did you mean "branin"', "seed", 'did you mean "slurm"'):
        assert words in text
    assert not (tmp_path / "runs").exists()


def test_an_existing_run_is_not_launched_over(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path)
    run_study(tmp_path, study)
    before = (tmp_path / "runs/study/ledger.jsonl").read_bytes()
    text = refused(orchestrator("launch", study, "--profile", tmp_path / "profile.toml", cwd=tmp_path))
    assert "orchestrator resume" in text
    assert (tmp_path / "runs/study/ledger.jsonl").read_bytes() == before


def test_a_study_that_changed_since_launch_is_not_resumed(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path, evaluations=4)
    run = run_study(tmp_path, study, fault="after-evaluated:1")
    study.write_text(study.read_text().replace("seed = 5", "seed = 6"))
    text = refused(orchestrator("resume", run.path, cwd=tmp_path))
    assert "-seed = 5" in text
    assert "+seed = 6" in text
    done = orchestrator("resume", run.path, "--as-launched", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(run.history.spent) == 4


def test_a_comment_is_no_change_of_a_study(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path)
    run = run_study(tmp_path, study, fault="after-evaluated:1")
    study.write_text("# a note\n" + study.read_text())
    assert orchestrator("resume", run.path, cwd=tmp_path).returncode == 0


def test_a_shared_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path)
    (tmp_path / "file").touch()
    profile = write_profile(tmp_path, PROFILE.replace("{shared}", "{shared}/file/below"))
    text = refused(orchestrator("launch", study, "--profile", profile, cwd=tmp_path))
    assert str(tmp_path / "file/below") in text
    assert "shared_dir" in text


def test_a_run_that_is_none_is_refused(tmp_path: Path) -> None:
    for command in ("status", "resume", "report", "queue", "cancel", "watch"):
        assert "no run here" in refused(orchestrator(command, "nothing", cwd=tmp_path))


def test_an_ended_study_is_not_searched_on(tmp_path: Path) -> None:
    run = run_study(tmp_path, write_synthetic_study(tmp_path))
    before = len(ledger_of(tmp_path))
    done = orchestrator("resume", run.path, cwd=tmp_path)
    assert done.returncode == 0
    assert "budget of 4 evaluations is spent" in done.stdout
    assert len(ledger_of(tmp_path)) == before
    assert "nothing to cancel" in orchestrator("cancel", run.path, cwd=tmp_path).stdout


def test_a_command_that_is_missing_stops_the_study_with_one_line(tmp_path: Path) -> None:
    study = write_command_study(tmp_path, "")
    study.write_text(study.read_text().replace(sys.executable, "/nowhere/python"))
    done = orchestrator("launch", study, "--profile", tmp_path / "profile.toml", cwd=tmp_path)
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "missing_input" in line
    assert "/nowhere/python" in line


def test_a_budget_of_gpu_hours_needs_gpus(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path)
    study.write_text(study.read_text().replace("evaluations = 4", "gpu_hours = 2.0"))
    text = refused(orchestrator("check", study, "--profile", tmp_path / "profile.toml", cwd=tmp_path))
    assert "has no GPUs: give `evaluations`" in text


def test_a_cancel_that_was_refused_does_not_strike_later(tmp_path: Path) -> None:
    run = run_study(tmp_path, write_synthetic_study(tmp_path), fault="after-evaluated:1")
    whole = (run.path / "profile.toml").read_text()
    (run.path / "profile.toml").write_text("not TOML")
    refused(orchestrator("cancel", run.path, cwd=tmp_path))
    (run.path / "profile.toml").write_text(whole)
    assert orchestrator("resume", run.path, cwd=tmp_path).returncode == 0
    assert len(run.history.spent) == 4


def test_a_master_under_nohup_survives_the_terminal(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path, evaluations=3, seconds=2)
    words = [sys.executable, "-m", "orchestrator", "launch", study, "--profile", tmp_path / "profile.toml"]
    with (tmp_path / "out").open("wb") as out:
        master = subprocess.Popen(
            ["nohup", *map(str, words)], stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    while not any(record["kind"] == "submitted" for record in ledger_of(tmp_path)):
        time.sleep(0.05)
    master.send_signal(signal.SIGHUP)
    assert master.wait(timeout=60) == 0


def test_names_that_collide_or_look_like_markup_are_shown_and_kept_apart(tmp_path: Path) -> None:
    program = (
        "import json, sys; json.dump({'[/b]': 1.5, 'seconds': 9.0, 'trial': 7.0}, open(sys.argv[2], 'w'))"
    )
    study = write_command_study(tmp_path, program)
    text = study.read_text().replace('metric = "loss"', 'metric = "[/b]"')
    study.write_text(text.replace("x = {", '"trial" = {'))
    run = run_study(tmp_path, study)
    assert run.code == 0, run.errors
    assert "[/b]" in run.output
    header, first, *_ = (run.path / "report/trials.csv").read_text().splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert (row["trial"], row["metric:trial"], row["metric:seconds"]) == ("0", "7.0", "9.0")
    assert float(row["param:trial"]) == run.history.trials[0].configuration["trial"]


def test_a_run_directory_that_a_scheduler_cannot_name_is_refused_before_it_is_made(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path)
    profile = write_profile(tmp_path, PROFILE.replace("{shared}", "{shared}/100%"))
    text = refused(orchestrator("launch", study, "--profile", profile, cwd=tmp_path))
    assert "100%" in text
    assert not (tmp_path / "100%").exists()


def test_a_ledger_cut_to_nothing_is_said_to_be_so(tmp_path: Path) -> None:
    run = run_study(tmp_path, write_synthetic_study(tmp_path))
    (run.path / "ledger.jsonl").write_text("")
    for command in ("status", "report", "resume", "cancel", "queue", "watch"):
        done = orchestrator(command, run.path, cwd=tmp_path)
        assert done.returncode == 1
        assert "the ledger is empty" in done.stderr


def test_a_scheduler_that_does_not_answer_at_all_ends_the_launch_with_one_line(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path)
    profile = write_profile(tmp_path, PROFILE.replace('"local"', '"slurm"'))
    for name in ("sbatch", "squeue"):
        program = tmp_path / name
        program.write_text(
            "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact controller' >&2\nexit 1\n"
        )
        program.chmod(0o755)
    silent = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = orchestrator("launch", study, "--profile", profile, cwd=tmp_path, environment=silent)
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "Unable to contact controller" in line
    assert "orchestrator resume" in line
