"""`tick`: a master that looks once and ends, from cron; and a Ctrl-C as early as can be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from orchestrator.contract import publish
from orchestrator.contract.files import dumps
from orchestrator.master.control import crontab_line
from orchestrator.record import RunDirectory
from orchestrator.record.directory import HEARTBEAT_S, MasterProcess
from tests.fakes.studies import (
    PROFILE,
    assert_undisturbed,
    ledger_of,
    orchestrator,
    points_of,
    run_study,
    write_command_study,
    write_synthetic_study,
)

EVALUATIONS = 5


def launch(tmp_path: Path, study: Path) -> RunDirectory:
    done = orchestrator("launch", study, "--profile", tmp_path / "profile.toml", "--tick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = RunDirectory(tmp_path / "runs/study")
    assert f"-m orchestrator tick {run.path}" in done.stdout.splitlines()[-1]
    return run


def tick(run: RunDirectory, *words: str) -> subprocess.CompletedProcess[str]:
    return orchestrator("tick", run.path, *words, cwd=run.path)


def ended(tmp_path: Path) -> bool:
    return any(record["kind"] == "ended" for record in ledger_of(tmp_path))


def result_is_there(tmp_path: Path) -> bool:
    return bool(list(tmp_path.glob("runs/study/trials/*/attempt-*/result.json")))


def wait_for_result(tmp_path: Path) -> None:
    while not result_is_there(tmp_path):
        time.sleep(0.05)


def test_a_study_of_ticks_is_that_of_a_master_that_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    other = run_study(tmp_path / "a", write_synthetic_study(tmp_path / "a", evaluations=EVALUATIONS))
    run = launch(tmp_path / "b", write_synthetic_study(tmp_path / "b", evaluations=EVALUATIONS))
    said = []
    while not ended(tmp_path / "b"):
        done = tick(run)
        assert done.returncode == 0, done.stderr
        said += done.stdout.splitlines()
    history = run_study(tmp_path / "b", tmp_path / "b/study.toml", resume=True).history
    assert_undisturbed(history, points_of(other.history))
    [end] = [line for line in said if "ended: " in line]
    assert "the budget of 5 evaluations is spent" in end
    assert said[-1] == f"report: {run.report / 'report.md'}"
    after = tick(run)
    assert (after.returncode, after.stdout, after.stderr) == (0, "", "")
    assert "the budget of 5 evaluations is spent" in tick(run, "--verbose").stdout


def test_a_tick_says_what_it_did_in_one_line_and_else_nothing(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    program = (
        "import json, os, sys, time\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.05)\n"
        "json.dump({'loss': json.load(open(sys.argv[1]))['x']}, open(sys.argv[2], 'w'))"
    )
    run = launch(tmp_path, write_command_study(tmp_path, program))
    before = ledger_of(tmp_path)
    quiet = tick(run)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert "study: nothing new" in tick(run, "--verbose").stdout
    assert ledger_of(tmp_path) == before
    gate.touch()
    wait_for_result(tmp_path)
    done = tick(run)
    [line] = done.stdout.splitlines()
    assert "study: " in line
    assert " evaluated; 1 asked for; 1 submitted; " in line
    gate.unlink()
    orchestrator("cancel", run.path, cwd=tmp_path)
    assert (tick(run).stdout, tick(run).returncode) == ("", 0)  # a cancelled study is not taken up again


def test_a_tick_that_only_looks_loads_neither_torch_nor_the_algorithm(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path, algorithm="bamsoo", evaluations=3, seconds=120)
    run = launch(tmp_path, study)
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("torch", "botorch", "pandas", "matplotlib"):
        (trap / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    profile = run.profile.read_text()
    run.profile.write_text(profile.replace("max_jobs = 3", "max_jobs = 1"))
    done = orchestrator("tick", run.path, "--verbose", cwd=tmp_path, environment={"PYTHONPATH": str(trap)})
    assert done.returncode == 0, done.stderr
    assert "nothing new" in done.stdout
    orchestrator("cancel", run.path, cwd=tmp_path)


def test_of_two_ticks_at_once_one_leaves_it_to_the_other(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path, algorithm="lhs", evaluations=6, seconds=1)
    run = launch(tmp_path, study)
    program = [sys.executable, "-m", "orchestrator", "tick", str(run.path)]
    said = []
    while not ended(tmp_path):
        pair = [subprocess.Popen(program, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        said += [one.communicate()[0] for one in pair]
        assert [one.returncode for one in pair] == [0, 0]
    submitted = [pair for r in ledger_of(tmp_path) if r["kind"] == "submitting" for pair in r["attempts"]]
    assert sorted(submitted) == [[trial, 1] for trial in range(6)]
    assert all("a master runs this study already" in text for text in said if "nothing done" in text)


def test_a_tick_leaves_a_master_that_stays_alone(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path, algorithm="lhs", evaluations=3, seconds=120)
    launched = orchestrator("launch", study, "--profile", tmp_path / "profile.toml", "--detach", cwd=tmp_path)
    assert launched.returncode == 0, launched.stderr
    run = RunDirectory(tmp_path / "runs/study")
    done = tick(run)
    assert done.returncode == 0
    [line] = done.stdout.splitlines()
    assert "nothing done: " in line
    assert "a master runs this study already: host " in line
    orchestrator("cancel", run.path, cwd=tmp_path)


def test_a_tick_that_died_on_another_host_waits_for_a_persons_word(tmp_path: Path) -> None:
    run = launch(tmp_path, write_synthetic_study(tmp_path, evaluations=1))
    wait_for_result(tmp_path)
    dead = replace(MasterProcess.current(), host="elsewhere")
    publish(run.master_file, dumps(asdict(dead)))
    fresh = tick(run)
    assert fresh.returncode == 0  # as far as can be told, it is at work
    assert "elsewhere" in fresh.stdout
    long_ago = time.time() - 100 * HEARTBEAT_S
    os.utime(run.master_file, (long_ago, long_ago))
    for _ in range(2):
        refused = tick(run)
        assert refused.returncode == 2
        [line] = refused.stderr.splitlines()
        assert f"may still run this study: {dead}, last seen alive 20" in line
        assert "say so once with `--take-over`" in line
    taken = tick(run, "--take-over")
    assert taken.returncode == 0, taken.stderr
    assert ended(tmp_path)


def test_the_line_for_cron_carries_what_the_run_needs_of_this_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path)
    run.profile.write_text('shared_dir = "$SITE_WORK/mine"')
    monkeypatch.setenv("SITE_WORK", "/site/a b%")
    monkeypatch.setenv("SLURM_CONF", "/etc/other.conf")
    monkeypatch.setenv("PATH", "/opt/python/bin::relative:/usr/bin")
    line = crontab_line(run)
    assert "* PATH=/opt/python/bin:/usr/bin:/bin " in line
    assert r" SITE_WORK='/site/a b\%' SLURM_CONF=/etc/other.conf " in line


def test_a_tick_killed_on_this_host_is_followed_by_the_next(tmp_path: Path) -> None:
    study = write_synthetic_study(tmp_path, evaluations=EVALUATIONS)
    run = launch(tmp_path, study)
    for fault in ("before-tell:1", "after-asked:1", "before-submit:1", "after-submit:1"):
        wait_for_result(tmp_path)
        killed = orchestrator("tick", run.path, cwd=tmp_path, environment={"ORCHESTRATOR_FAULT": fault})
        assert killed.returncode == -signal.SIGKILL
    while not ended(tmp_path):
        assert tick(run).returncode == 0
    submitted = [r for r in ledger_of(tmp_path) if r["kind"] == "evaluated"]
    assert sorted(r["trial"] for r in submitted) == list(range(EVALUATIONS))


def test_a_study_that_stops_says_why_once_and_is_not_taken_up_again(tmp_path: Path) -> None:
    study = write_command_study(tmp_path, "raise SystemExit(3)", profile=PROFILE)
    run = launch(tmp_path, study)
    outputs = []
    while not ended(tmp_path):
        outputs.append(tick(run))
    assert outputs[-1].returncode == 1
    assert "failed (program_error)" in outputs[-1].stderr
    count = len(ledger_of(tmp_path))
    after = tick(run)
    assert (after.returncode, after.stdout, after.stderr) == (0, "", "")
    assert len(ledger_of(tmp_path)) == count
    assert json.loads(orchestrator("status", run.path, "--json", cwd=tmp_path).stdout)["state"] == "stopped"


@pytest.mark.parametrize("module", ["typer", "rich.console", "orchestrator.cli.runs"])
def test_a_ctrl_c_while_modules_load_ends_the_program_without_a_word(tmp_path: Path, module: str) -> None:
    code = (
        "import os, signal, sys\n"
        "class Pressed:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "sys.argv = ['orchestrator', '--help']\n"
        "from orchestrator.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
