"""The figures of the comparison of searches, from studies made up by hand."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import search_report


def line(**changes: Any) -> dict[str, Any]:
    """A study of two rounds of two: regret 1 after the first, .01 after the second, of 10 at random."""
    return {
        "method": "made",
        "problem": "one",
        "group": "test",
        "q": 2,
        "budget": 4,
        "seed": 0,
        "durations": "lognormal",
        "asynchronous": False,
        "random50": 10.0,
        "random1": 100.0,
        "scores": [None, -1.0, -5.0, -0.01],
        "regrets": [None, 1.0, 5.0, 0.01],
        "started": [0, 0, 2, 2],
        "ended": [1, 2, 3, 4],
        "rounds": [2, 2],
        "ask_seconds": [1.0, 3.0],
        "ask_cpu_seconds": [1.0, 2.0],
        "distinct": 4,
    } | changes


def test_the_curve_follows_what_was_observed() -> None:
    assert search_report.curve(line()) == pytest.approx([1, -1, -3])
    noisy = line(scores=[None, -1.0, -0.9, -2.0])  # the third only looked better
    assert search_report.curve(noisy) == pytest.approx([1, -1, math.log10(0.5)])
    perfect = line(regrets=[None, 1.0, 5.0, 0.0])
    assert search_report.curve(perfect)[-1] == search_report.FLOOR
    nothing = line(scores=[None] * 4, regrets=[None] * 4)
    assert search_report.curve(nothing) == pytest.approx([1, 1, 1])
    asynchronous = line(asynchronous=True, rounds=[2, 1, 1], ended=[1, 4, 2, 3])
    assert search_report.curve(asynchronous) == pytest.approx([1, math.log10(0.5), -3])


def test_the_table_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Problem "one" ends at −3 and −1, "two" twice at −1: mean −1.5, SE √(2/2 + 0) / 2."""
    worse = [None, 1.0, 5.0, 1.0]
    record = [
        line(),
        line(seed=1, regrets=worse),
        line(problem="two", regrets=worse),
        line(problem="two", regrets=worse, seed=1),
        line(method="other made", scores=[None] * 4, regrets=[None] * 4),
    ]
    search_report.write(record, tmp_path)
    with (tmp_path / "table.csv").open() as file:
        best, worst = csv.DictReader(file)
    assert (best["method"], worst["method"]) == ("made", "other made")
    expected = {
        "studies": 4,
        "score": -1.5,
        "se": 0.5,
        "after_3": -1.5,
        "rounds": 2,
        "distinct": 4,
        "failed": 1,
        "ask_median": 2,
        "ask_max": 3,
        "busy": 6 / 8,
        "busy_to_last_start": 3 / 4,
        "time": 4,
    }
    assert {name: float(best[name]) for name in expected} == expected
    with (tmp_path / "problems.csv").open() as file:
        assert [row["score"] for row in csv.DictReader(file)] == ["-2", "1", "-1"]
    shown = capsys.readouterr().out
    assert "-1.50 ± 0.50" in shown
    assert "75 / 75" in shown
