"""A study on storage that fills up or goes away."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.record.ledger import read
from tests.fakes.studies import PROFILE, ledger_of, run_study, write_command_study


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A shared directory whose `runs` is a filesystem of 400 KiB."""
    if os.geteuid() != 0:
        message = "mounting a small filesystem needs root"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    runs = tmp_path / "runs"
    runs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", str(runs)], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(runs)], check=True)


def test_a_job_that_fills_the_disk_is_told_from_other_failures_and_the_study_goes_on(
    small_disk: Path,
) -> None:
    # Above 0.5 a trial writes more than there is, and takes it away again as it dies.
    program = (
        "import json, sys\n"
        "x = json.load(open(sys.argv[1]))['x']\n"
        "try:\n"
        "    with open('big', 'wb') as file:\n"
        "        file.write(bytes(int(1_000_000 * (x > 0.5))))\n"
        "finally:\n"
        "    open('big', 'wb').close()\n"
        "json.dump({'loss': x}, open(sys.argv[2], 'w'))"
    )
    profile = PROFILE.replace("max_jobs = 3", "max_jobs = 4")
    run = run_study(small_disk, write_command_study(small_disk, program, profile=profile))
    assert run.code == 0, run.errors
    failures = [t.evaluation.failure for t in run.history.spent if t.evaluation is not None]
    assert sorted(map(str, failures)) == ["None", "None", "disk_full", "disk_full"]


def test_a_disk_that_is_full_for_good_stops_the_study_and_loses_nothing(small_disk: Path) -> None:
    program = (
        "import json, sys\n"
        "x = json.load(open(sys.argv[1]))['x']\n"
        "json.dump({'loss': x}, open(sys.argv[2], 'w'))\n"
        f"with open({str(small_disk / 'runs/filler')!r}, 'ab', buffering=0) as file:\n"
        "    while file.write(bytes(4096)):\n"
        "        pass"
    )
    study = write_command_study(small_disk, program, evaluations=6)
    run = run_study(small_disk, study)
    assert run.code == 1
    assert len(run.errors.splitlines()) == 1, run.errors + run.output
    line = run.errors
    assert "No space left on device" in line or "disk_full" in line
    assert "orchestrator resume" in line
    whole = (run.path / "ledger.jsonl").read_bytes()
    assert whole.endswith(b"\n")
    list(read(run.path / "ledger.jsonl"))
    # Room is made and the program mended.
    (small_disk / "runs/filler").unlink()
    (small_disk / "program.py").write_text(program.partition("with open")[0])
    resumed = run_study(small_disk, study, resume=True)
    assert resumed.code == 0, resumed.errors
    assert len(resumed.history.spent) == 6
    assert all(t.evaluation is not None and not t.evaluation.failure for t in resumed.history.spent)
    assert (run.path / "ledger.jsonl").read_bytes().startswith(whole)


def test_a_shared_directory_that_goes_away_stops_the_study_and_resume_finds_the_results(
    tmp_path: Path,
) -> None:
    # The job hides the trials' directory as a stale mount would, and brings its result all the same.
    trials, hidden = tmp_path / "runs/study/trials", tmp_path / "runs/study/hidden"
    program = (
        "import json, os, sys, time\n"
        "x = json.load(open(sys.argv[1]))['x']\n"
        f"os.path.exists({str(hidden)!r}) or os.rename({str(trials)!r}, {str(hidden)!r})\n"
        f"json.dump({{'loss': x}}, open(sys.argv[2].replace({str(trials)!r}, {str(hidden)!r}), 'w'))\n"
        "time.sleep(8)\n"
        f"os.rename({str(hidden)!r}, {str(trials)!r})"
    )
    profile = PROFILE.replace("max_jobs = 3", "max_jobs = 1\npatience_min = 0.05")
    study = write_command_study(tmp_path, program, evaluations=1, profile=profile)
    run = run_study(tmp_path, study)
    assert run.code == 1
    [line] = run.errors.strip().splitlines()
    assert "cannot be read: No such file or directory" in line
    assert "orchestrator resume" in line
    assert not any(record["kind"] in ("evaluated", "failed") for record in ledger_of(tmp_path))
    while not trials.exists():
        time.sleep(0.1)
    resumed = run_study(tmp_path, study, resume=True)
    assert resumed.code == 0, resumed.errors
    [trial] = resumed.history.spent
    assert len(trial.attempts) == 1
