"""Where a study's host-hours went."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import pytest

from orchestrator.views.hours import Hours, hours
from tests.fakes.builders import NOON, Story

HOUR = 3600.0


def story(**created: Any) -> Story:
    """One trial, submitted."""
    return Story(**created).ask({"x": 1}).submit((0, 1))


def in_hours(found: Story) -> tuple[float, ...]:
    return tuple(round(value, 6) for value in astuple(hours(found.history)))


def submitted_at(found: Story) -> float:
    attempt = found.history.trials[0].attempt
    assert attempt is not None
    return attempt.submitted_at


def evaluated(found: Story, wait_h: float, run_h: float, **content: Any) -> Story:
    started_at = submitted_at(found) + wait_h * HOUR
    times = {"started_at": started_at, "ended_at": started_at + run_h * HOUR}
    return found.score(0, 1.0, **times, **content)


def test_an_evaluation_is_split_into_its_stages_and_the_wait_before_it() -> None:
    stages = {"imports": 360.0, "load": 360.0, "train": HOUR, "validate": 180.0, "score": 0.5 * HOUR - 180}
    found = evaluated(story(), 2, 2, seconds=stages)
    assert in_hours(found) == (2, 1, 0.5, 0.5, 0)


@pytest.mark.parametrize("stage", ["command", "function"])
def test_a_program_trains_and_scores_in_one(stage: str) -> None:
    assert in_hours(evaluated(story(), 0, 1, seconds={stage: HOUR})) == (0, 1, 0, 0, 0)


def test_hours_are_those_of_every_host() -> None:
    assert in_hours(evaluated(story(hosts=3), 1, 1, seconds={"train": HOUR})) == (3, 3, 0, 0, 0)


def test_what_an_attempt_ran_that_left_nothing_is_lost() -> None:
    found = story()
    at = submitted_at(found)
    found.add("failed", trial=0, attempt=1, failure="killed", message="", started_at=at + 60)
    ended_at = found.history.trials[0].attempts[0].ended_at
    assert ended_at is not None
    assert hours(found.history).lost * HOUR == pytest.approx(ended_at - at - 60)
    assert hours(found.history).queue * HOUR == pytest.approx(60)


def test_what_a_checkpoint_holds_is_not_lost() -> None:
    found = story()
    start = {"started_at": submitted_at(found)}
    failed = {"failure": "preempted", "message": ""}
    found.add("failed", trial=0, attempt=1, trained=0.4, **failed, **start).submit((0, 2))
    second = found.history.trials[0].attempts[1].submitted_at
    found.add("failed", trial=0, attempt=2, trained=0.4, **failed, started_at=second)
    spent = hours(found.history)
    assert spent.train > 0  # the first attempt's
    assert spent.lost > 0  # the second's, which came no further


def test_an_attempt_that_never_started_only_waited() -> None:
    found = story().add("failed", trial=0, attempt=1, failure="cancelled", message="")
    spent = hours(found.history)
    assert spent.queue > 0
    assert spent.taken == 0


def test_a_failure_without_a_result_is_lost_and_one_with_a_result_is_not() -> None:
    found = story()
    at = submitted_at(found)
    content = {"outcome": "failed", "failure": "killed", "started_at": at, "trial": 0, "attempt": 1}
    found.add("evaluated", trial=0, attempt=1, evaluation=content)
    assert hours(found.history).lost > 0
    other = evaluated(story(), 0, 1, outcome="failed", failure="diverged", metrics={}, seconds={"train": 900})
    assert in_hours(other) == (0, 0.25, 0, 0.75, 0)


def test_attempts_under_way_and_those_withdrawn_are_not_counted() -> None:
    found = story(max_jobs=4).ask({"x": 2}).submit((1, 1), jobs=False)
    found.add("submitted", token=found.records[-1]["token"], jobs=[None])
    assert hours(found.history) == Hours()


def test_clocks_that_differ_between_hosts_give_no_negative_hours() -> None:
    started_at = NOON - HOUR
    found = story().score(0, 1.0, started_at=started_at, ended_at=started_at - 60, seconds={"train": 0.0})
    assert in_hours(found) == (0, 0, 0, 0, 0)
