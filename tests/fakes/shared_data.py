"""Data that is no part of the project: beside its checkout in CI, perhaps nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def shared_data(name: str) -> Path:
    """Path of that file or directory; the test is skipped where there is none, and fails in CI."""
    path = DATA / name
    if not path.exists():
        message = f"no data to measure on: looked for {path}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return path
