"""One attempt: whatever happens, its result is whole, is the only one, and says what happened."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs import evaluate as job
from jobs.attempt import directory as attempts
from jobs.attempt.measured import Measured
from jobs.evaluations.synthetic import synthetic
from orchestrator.contract import Failure, Outcome, SyntheticEvaluation
from tests.jobs.attempts import attempt, log, result, run, shell, start

BRANIN = {"kind": "synthetic", "function": "branin"}


def test_a_result_tells_what_where_and_when(tmp_path: Path) -> None:
    directory = attempt(tmp_path, BRANIN, metrics=["value"])
    before = time.time()
    assert run(directory, SLURM_JOB_ID="42") == (0, "")
    found = result(directory)
    assert (found.outcome, found.failure, found.trial, found.attempt) == (Outcome.OK, None, 7, 2)
    assert found.metrics["value"].value == pytest.approx(40.8613, abs=1e-3)
    assert found.job == "42"
    assert found.host
    assert found.versions["orchestrator"]
    assert "function" in found.seconds
    assert found.started_at is not None
    assert found.ended_at is not None
    assert before <= found.started_at <= found.ended_at <= time.time()
    assert not (directory / ".reserve").exists()
    assert "done: value 40.8" in log(directory)


def test_noise_is_the_trials_own() -> None:
    noisy = SyntheticEvaluation(kind="synthetic", function="branin", noise=1.0)
    there = {"x0": 0.5, "x1": 0.5}
    assert synthetic(noisy, there, seed=1) == synthetic(noisy, there, seed=1)
    assert synthetic(noisy, there, seed=1) != synthetic(noisy, there, seed=2)


@pytest.mark.parametrize(
    ("evaluation", "changes", "failure", "words"),
    [
        ({"kind": "synthetic", "function": "brannin"}, {}, Failure.BAD_DATA, "'brannin' is unknown"),
        (BRANIN, {"configuration": {"x0": 1.0}}, Failure.BAD_DATA, "needs x1"),
        (BRANIN, {"metrics": ["loss"]}, Failure.BAD_RESULT, "no metric loss: it gave value"),
        ({"kind": "nonsense"}, {}, Failure.BAD_DATA, "nonsense"),
        (shell('echo "{\\"loss\\": NaN}" > $2'), {}, Failure.DIVERGED, "metric loss"),
        (shell("echo why >&2; exit 3"), {}, Failure.PROGRAM_ERROR, "exited with 3. Its last words: why"),
    ],
)
def test_failures_are_results(
    tmp_path: Path, evaluation: dict[str, Any], changes: dict[str, Any], failure: Failure, words: str
) -> None:
    directory = attempt(tmp_path, evaluation, **changes)
    assert run(directory) == (0, "")
    found = result(directory)
    assert (found.outcome, found.failure, found.metrics) == (Outcome.FAILED, failure, {})
    assert words in found.message
    assert "\n" not in found.message
    assert words in log(directory)


def test_a_job_submitted_twice_runs_once(tmp_path: Path) -> None:
    directory = attempt(tmp_path, shell('echo ran >> ran; echo "{\\"loss\\": 1}" > $2'))
    (directory / "claim.json").write_text(json.dumps({"job": "41", "host": "h", "pid": 1, "started_at": 0}))
    code, stderr = run(directory, SLURM_JOB_ID="42")
    assert code == 0
    assert "is the work of job 41, and this is 42" in stderr
    assert sorted(path.name for path in directory.iterdir()) == ["claim.json", "trial.json"]
    assert run(directory, SLURM_JOB_ID="41")[0] == 0  # requeued: the same job goes on
    assert result(directory).job == "41"
    code, stderr = run(directory, SLURM_JOB_ID="41")
    assert "exists: nothing to do" in stderr
    assert (directory / "ran").read_text() == "ran\n"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}, "7_3"),
        ({"SLURM_JOB_ID": "9"}, "9"),
        ({"OAR_JOB_ID": "5"}, "5"),
        ({}, f"pid-{os.getpid()}"),
    ],
    ids=["array", "job", "oar", "none"],
)
def test_a_job_is_known_by_its_scheduler(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name in (
        "SLURM_JOB_ID",
        "SLURM_ARRAY_JOB_ID",
        "SLURM_ARRAY_TASK_ID",
        "OAR_JOB_ID",
        "SUBMITIT_LOCAL_JOB_ID",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert attempts.job_id() == expected


def test_walltime_is_told_before_the_scheduler_kills(tmp_path: Path) -> None:
    directory = attempt(tmp_path, shell("sleep 77 & echo $! > pid; wait"), walltime_min=0.04)
    begun = time.monotonic()
    assert run(directory)[0] == 0
    assert 2.0 < time.monotonic() - begun < 8.0
    found = result(directory)
    assert found.failure is Failure.WALLTIME
    assert "'command'" in found.message
    assert "raise walltime_min" in found.message
    assert _gone(directory)


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize("to_all", [False, True])
def test_sigterm_ends_everything_and_leaves_no_result(tmp_path: Path, stubborn: bool, to_all: bool) -> None:
    trap = "trap '' TERM; " if stubborn else ""
    directory = attempt(tmp_path, shell(f"{trap}(sleep 77 & echo $! > pid); sleep 66"))
    process = start(directory)
    _until((directory / "pid").exists)
    if to_all:  # as a scheduler does that signals every process of a job
        for child in psutil.Process(process.pid).children(recursive=True):
            child.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    process.communicate(timeout=20)
    assert time.monotonic() - begun < (6.5 if stubborn else 3.0)
    assert process.returncode == 143
    assert not (directory / "result.json").exists()
    assert _gone(directory)


def test_a_trial_that_cannot_be_read_is_said_aloud(tmp_path: Path) -> None:
    (tmp_path / "trial.json").write_text("{")
    code, stderr = run(tmp_path)
    assert code == 1
    assert "has no result" in stderr
    assert "has no result" in log(tmp_path)
    assert not (tmp_path / "result.json").exists()


def test_a_full_disk_that_the_evaluation_met_is_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/scratch/x")

    monkeypatch.setattr(job, "measure", full)
    job.evaluate(str(attempt(tmp_path, BRANIN)))
    found = result(tmp_path)
    assert found.failure is Failure.DISK_FULL
    assert "/scratch/x" in found.message


def test_a_result_that_finds_no_space_is_said_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)  # descriptor 1, as on a compute node
    reserved: list[bool] = []

    def full(path: Path, _: str) -> bool:
        reserved.append((path.parent / ".reserve").exists())
        raise OSError(errno.EDQUOT, "Disk quota exceeded", str(path))

    directory = attempt(tmp_path, BRANIN)

    def measured(*_: object) -> Measured:
        reserved.append((directory / ".reserve").stat().st_size == 16384)
        return Measured({})

    monkeypatch.setattr(job, "measure", measured)
    attempts.claim(directory)
    monkeypatch.setattr(attempts, "publish_once", full)
    monkeypatch.setattr(attempts, "claim", lambda _: None)
    with pytest.raises(SystemExit) as ended:
        job.evaluate(str(directory))
    assert ended.value.code == 1
    assert reserved == [True, False]  # taken while it ran, given back just before the result is written
    assert "no space left" in capfd.readouterr().err
    assert "no space left" in log(directory).splitlines()[-1]


def _until(holds: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.1)


def _gone(directory: Path) -> bool:
    pid = int((directory / "pid").read_text())
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
