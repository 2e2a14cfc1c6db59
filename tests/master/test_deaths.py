"""A master that dies at any named point, of any record and any call, loses nothing and repeats nothing."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.fakes.scripted import ScriptedCluster, Study, study, value


def played(directory: Path, algorithm: str, crash_at: int | None) -> tuple[Study, bool]:
    """A study whose first master dies at that point, if it comes to it, and that the next one ends."""
    # Trials end one after the other, so slots are refilled while others run.
    cluster = ScriptedCluster(seconds=lambda trial: 1.0 + trial % 3 / 10, outcome=value)
    found = Study(*study(directory, algorithm, evaluations=5), cluster)
    died = found.go(crash_at=crash_at) is None
    if died:
        assert found.go() is not None
    return found, died


@pytest.mark.parametrize("algorithm", ["soo", "lhs"])
def test_wherever_a_master_dies_the_study_is_the_same(tmp_path: Path, algorithm: str) -> None:
    alone, _ = played(tmp_path / "alone", algorithm, None)
    for point in itertools.count(1):
        found, died = played(tmp_path / str(point), algorithm, point)
        if not died:
            break
        assert found.points == alone.points, point
        assert sorted(line["trial"] for line in found.of_kind("evaluated")) == list(range(5)), point
        assert sorted(found.cluster.started) == list(range(5)), point
    assert point > 40, "each record and each call has two"
