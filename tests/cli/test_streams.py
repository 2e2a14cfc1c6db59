"""Telling people never ends a master: whatever becomes of its stdout, the study comes to its end."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.record import RunDirectory, look
from tests.fakes.studies import run_study, write_synthetic_study

LAUNCH = [sys.executable, "-m", "orchestrator", "launch", "study.toml", "--profile", "./profile.toml"]


def shell(shared: Path, line: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """What a line of the shell comes to, in which {} is a launch."""
    command = line.format(shlex.join(LAUNCH))
    environment = {**os.environ, **variables}
    return subprocess.run(
        ["bash", "-c", command], cwd=shared, env=environment, capture_output=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("line", "variables"),
    [
        ("{}", {"PYTHONIOENCODING": "latin-1"}),
        ("{}", {"PYTHONIOENCODING": "ascii"}),
        ("{} >&-", {}),
        ("{} >&- 2>&-", {}),
        ("{} >&- 2>&- <&-", {}),
        ("{} > /dev/full", {}),
        ("set -o pipefail; {} | head -n 1", {}),
        ("set -o pipefail; {} | true", {}),
    ],
)
def test_a_study_goes_on_whoever_listens(tmp_path: Path, line: str, variables: dict[str, str]) -> None:
    write_synthetic_study(tmp_path)
    done = shell(tmp_path, line, **variables)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    ended = look(RunDirectory(tmp_path / "runs" / "study")).history.ended
    assert ended is not None
    assert ended.is_done
    assert (tmp_path / "runs" / "study" / "report" / "report.md").is_file()
    assert done.returncode == 0


def test_the_end_is_told_as_status_tells_it(tmp_path: Path) -> None:
    run = run_study(tmp_path, write_synthetic_study(tmp_path))
    assert "study (soo) in" in run.output
    assert "[bold]" not in run.output
    assert "[/]" not in run.output


@pytest.mark.parametrize("command", ["status", "report", "tree --all", "algorithms", "--help"])
def test_a_command_whose_reader_leaves_ends_without_a_word(tmp_path: Path, command: str) -> None:
    run = run_study(tmp_path, write_synthetic_study(tmp_path)).path
    name, *options = command.split()
    words = [name, *([str(run)] if name in ("status", "report", "tree") else []), *options]
    line = f"{shlex.join([sys.executable, '-m', 'orchestrator', *words])} | true"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.stderr == b""
