"""Two processes of one job at one attempt: both are known, and one result counts, whole."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.attempt import directory as attempts
from orchestrator.record import RunDirectory
from tests.jobs.attempts import attempt, log, result, run, shell, start

# Its own number: a copy that reads, or removes, the other's output is seen.
WAITING = shell(
    'echo "{\\"loss\\": $COPY}" > "$2"; touch "wrote-$COPY"; until [ -e "go-$COPY" ]; do sleep 0.05; done'
)


def copies(directory: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in (directory / "copies").iterdir()]
    return sorted(found, key=lambda copy: float(copy["started_at"]))


def started(directory: Path, copy: int, **variables: str) -> subprocess.Popen[str]:
    process = start(directory, COPY=str(copy), SLURM_JOB_ID="41", **variables)
    while not (directory / f"wrote-{copy}").exists():
        assert process.poll() is None
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("quicker", [0, 1])
def test_the_first_complete_result_counts_and_names_its_copy(tmp_path: Path, quicker: int) -> None:
    directory = attempt(tmp_path, WAITING, metrics=["loss"])
    processes = [
        started(directory, 0, SLURMD_NODENAME="n1"),
        started(directory, 1, SLURMD_NODENAME="n2", SLURM_RESTART_COUNT="1"),
    ]
    for number in (quicker, 1 - quicker):
        (directory / f"go-{number}").touch()
        _, stderr = processes[number].communicate(timeout=60)
        assert (processes[number].returncode, stderr) == (0, "")
    found = result(directory)
    assert found.metrics["loss"].value == quicker
    assert (found.host, found.pid) == (f"n{quicker + 1}", processes[quicker].pid)
    late = f"n{2 - quicker}-{processes[1 - quicker].pid} is too late"
    assert f"{late}: the result is that of another copy of this job, on n{quicker + 1}" in log(directory)
    assert [(one["job"], one["host"], one["pid"], one["restart"]) for one in copies(directory)] == [
        ("41", "n1", processes[0].pid, 0),
        ("41", "n2", processes[1].pid, 1),
    ]


def test_the_master_finds_the_copies(tmp_path: Path) -> None:
    directory = tmp_path / "trials" / "0007" / "attempt-2"
    where = RunDirectory(tmp_path).attempt(7, 2)
    assert where.parent == directory.parent
    attempt(where, {"kind": "synthetic", "function": "branin"})
    assert run(where) == (0, "")
    assert RunDirectory(tmp_path).copies(7, 2) == copies(where)


def test_a_copy_is_named_by_its_host_and_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", "n3")
    assert attempts.claim(tmp_path) is None
    assert [path.stem for path in (tmp_path / "copies").iterdir()] == [attempts.copy_name()]
    assert attempts.copy_name().startswith("n3-")
