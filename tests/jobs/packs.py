"""Packs of attempts as a job runs them, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from tests.jobs.attempts import ROOT, environment


def start_pack(attempts: Sequence[Path], places: int = 4, /, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.pack", str(places), *map(str, attempts)],
        cwd=ROOT,
        env=environment(PYTHONPATH=str(ROOT), **variables),
        stderr=subprocess.PIPE,
        text=True,
    )


def until(true: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for: {what}"
        time.sleep(0.05)


def processes_of(*directories: Path) -> list[psutil.Process]:
    """Those that were started for these attempts, in whatever session."""
    names = {str(directory) for directory in directories}
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ORCHESTRATOR_PLACE") in names:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if process.is_running()]


def leader_of(directory: Path) -> psutil.Process:
    """The evaluation itself."""
    [leader] = [one for one in processes_of(directory) if "jobs.evaluate" in one.cmdline()]
    return leader
