"""Facts about a study: incumbent, counts, hours, and how numbers are written."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.contract import Metric
from orchestrator.record.summary import configuration_text, outcome, seconds_text, value_text
from tests.fakes.builders import NOON, Story, whole_story

MAXIMIZED = {"metric": "loss", "direction": "maximize", "report": []}


def scored(*losses: float, **created: Any) -> Story:
    story = Story(**created)
    for trial, loss in enumerate(losses):
        story.ask({"x": trial}).submit((trial, 1)).score(trial, loss)
    return story


@given(st.lists(st.sampled_from([0.5, 1.0, 1.5]), min_size=1, max_size=6), st.booleans())
def test_the_incumbent_is_the_best_and_the_earliest_of_equals(losses: list[float], maximize: bool) -> None:
    story = scored(*losses, **({"objective": MAXIMIZED} if maximize else {}))
    best = max(losses) if maximize else min(losses)
    incumbent = story.summary.incumbent
    assert incumbent is not None
    assert incumbent.number == losses.index(best)


def test_neither_the_base_model_nor_a_failure_is_the_incumbent() -> None:
    story = Story().ask({"x": 1}, {"x": 2}, base=True).submit((0, 1), (1, 1), (2, 1))
    story.score(0, 0.1).fail(1, "diverged")
    assert story.summary.incumbent is None
    incumbent = story.score(2, 9.0).summary.incumbent
    assert incumbent is not None
    assert incumbent.number == 2


def test_a_shared_score_is_a_value_but_no_evaluation() -> None:
    summary = scored(1.5).ask({"x": 0}, shares={0: 0}).summary
    shared = summary.objective(summary.history.trials[1])
    assert shared is not None
    assert shared.value == 1.5
    assert summary.evaluated == 1


def test_the_counts_of_a_whole_study() -> None:
    summary = whole_story().summary
    assert (summary.evaluated, summary.failed, summary.budget) == (8, 2, 8)
    assert (summary.metric, summary.reported) == ("loss", ["acc"])
    assert summary.base is summary.history.trials[0]
    incumbent = summary.incumbent
    assert incumbent is not None
    assert incumbent.number == 5


def test_gpu_hours_are_those_of_every_gpu_of_every_host_for_every_evaluation_that_ran() -> None:
    story = Story(gpus=4, hosts=2).ask({"x": 1}, {"x": 2}, base=True).submit((0, 1), (1, 1), (2, 1))
    story.score(0, 1.0, started_at=NOON, ended_at=NOON + 3600)
    story.score(1, 1.0, started_at=NOON, ended_at=NOON + 1800)
    story.score(2, 1.0, started_at=None, ended_at=None)
    assert story.summary.gpu_hours == pytest.approx(8 * 1.5)


def test_the_time_left_is_the_median_turn_around_for_each_wave_to_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A turn-around is two minutes here: submitting, submitted, evaluated.
    story = scored(1.0, 1.0, budget={"evaluations": 7, "gpu_hours": None}, max_jobs=2)
    assert story.summary.seconds_left == 3 * 120
    story.ask({"x": 8}).submit((2, 1))
    submitted_at = story.summary.history.trials[2].attempts[0].submitted_at
    monkeypatch.setattr(time, "time", lambda: submitted_at + 50)
    assert story.summary.seconds_left == (120 - 50) + 2 * 120
    monkeypatch.setattr(time, "time", lambda: submitted_at + 500)
    assert story.summary.seconds_left == 2 * 120


def test_the_time_left_is_not_told_when_nothing_is_left() -> None:
    assert scored(1.0, budget={"evaluations": 2, "gpu_hours": None}).summary.left_text == ", about 2 min left"
    assert scored(1.0, budget={"evaluations": 1, "gpu_hours": None}).summary.left_text == ""
    assert scored(1.0).add("ended", why="done", message="").summary.left_text == ""
    assert Story().summary.left_text == ""


def test_the_hours_spent_name_gpus_only_where_there_are_any() -> None:
    ran = {"started_at": NOON, "ended_at": NOON + 3600}
    for gpus, text in {0: "2.00 host-hours", 4: "2.00 host-hours (8.00 GPU-hours)"}.items():
        story = Story(gpus=gpus, hosts=2).ask({"x": 1}).submit((0, 1)).score(0, 1.0, **ran)
        assert story.summary.spent_text == text


def test_no_time_left_is_guessed_before_the_first_result_or_without_a_number_of_evaluations() -> None:
    assert Story().ask({"x": 1}).submit((0, 1)).summary.seconds_left is None
    assert scored(1.0, budget={"evaluations": None, "gpu_hours": 2.0}).summary.seconds_left is None


def test_one_word_says_where_a_trial_stands() -> None:
    story = whole_story().ask({"x": 1}, {"x": 2}).submit((10, 1))
    words = [outcome(story.summary, trial) for trial in story.summary.history.trials]
    assert words == [
        "ok",
        "ok",
        "diverged",
        "ok",
        "ok",
        "ok",
        "out_of_memory",
        "ok",
        "shared",
        "ok",
        "submitted",
        "waiting",
    ]


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (2.34567, 0.0123, "2.346 ± 0.012"),
        (0.5, 0.25, "0.50 ± 0.25"),
        (1234.5, 40.0, "1234 ± 40"),
        (2.34567891, None, "2.3457"),
        (2.0, 0.0, "2"),
        (1e-7, None, "1e-07"),
    ],
)
def test_a_value_is_written_with_as_many_digits_as_its_error_deserves(
    value: float, stderr: float | None, text: str
) -> None:
    assert value_text(Metric(value=value, stderr=stderr)) == text


def test_no_value_is_a_dash() -> None:
    assert value_text(None) == "—"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (89 * 60, "89 min"),
        (90 * 60, "1 h 30 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_a_time_is_written_as_a_person_would(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_a_configuration_is_written_short_and_the_base_model_has_none() -> None:
    base, trial = Story().ask({"rate": 0.0012345, "rank": 8, "mask": True}, base=True).history.trials
    assert configuration_text(trial) == "rate=0.001234 rank=8 mask=True"
    assert configuration_text(base) == "base model, untouched"
