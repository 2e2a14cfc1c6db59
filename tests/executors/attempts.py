"""Attempt directories with orders for the stand-in evaluation, and waiting for their jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from orchestrator.executors import Executor, JobState, Resources

ENTRY = "tests.executors.stand_in:run"
ROOT = Path(__file__).resolve().parents[2]


def resources(**changes: Any) -> Resources:
    """One host, no GPU, a minute; jobs import the stand-in from this source tree."""
    values: dict[str, Any] = {
        "hosts": 1,
        "gpus": 0,
        "walltime_min": 1.0,
        "max_jobs": 4,
        "setup": (),
        "environment": {"PYTHONPATH": str(ROOT)},
        "options": {},
    }
    return Resources(**(values | changes))


class Run:
    """A run directory whose name, by default, asks for trouble with quoting."""

    def __init__(self, path: Path, executor: Executor, name: str = 'my rün\'s "dir" $HOME') -> None:
        self.path = path / name
        self.executor = executor

    def prepare(self, token: str, *orders: dict[str, Any]) -> tuple[list[Path], Path]:
        """Attempt directories with these orders, and the submission's folder."""
        attempts = [self.path / "trials" / f"{token}-{index}" for index in range(len(orders))]
        for attempt, order in zip(attempts, orders, strict=True):
            attempt.mkdir(parents=True, exist_ok=True)
            (attempt / "orders.json").write_text(json.dumps(order))
        folder = self.path / "jobs" / token
        folder.mkdir(parents=True, exist_ok=True)
        return attempts, folder

    def submit(self, token: str, *orders: dict[str, Any]) -> tuple[list[str], list[Path]]:
        attempts, folder = self.prepare(token, *orders)
        return self.executor.submit(attempts, token, folder), attempts


def started(*attempts: Path, seconds: float = 30) -> list[dict[str, Any]]:
    """What the attempts' evaluations wrote when they started; waits for them."""
    files = [attempt / "started.json" for attempt in attempts]
    until(lambda: all(file.exists() and file.read_text().endswith("}") for file in files), "start", seconds)
    return [json.loads(file.read_text()) for file in files]


def until(true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for: {what}"
        time.sleep(0.1)


def poll_until(
    executor: Executor, jobs: Iterable[str], wanted: Callable[[JobState], bool], seconds: float = 30
) -> list[JobState]:
    """States of the jobs once each is as wanted."""
    jobs = list(jobs)
    deadline = time.monotonic() + seconds
    while True:
        states = executor.poll(jobs)
        if all(wanted(states[job]) for job in jobs):
            return [states[job] for job in jobs]
        assert time.monotonic() < deadline, f"after {seconds:g} s: {states}"
        time.sleep(0.2)
