"""A study's jobs, as `queue` shows them."""

from __future__ import annotations

import json
from datetime import datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from orchestrator.config import ClusterProfile
from orchestrator.contract.assignment import Configuration
from orchestrator.executors import JobState, State
from orchestrator.views import queue_facts, queue_view
from orchestrator.views.queue import jobs, moment_text, typical_s, without_job
from tests.fakes.builders import NOON, Story

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
REASON = "ReqNodeNotAvail, UnavailableNodes:[gpu1]"
RUNNING = JobState(State.RUNNING, "RUNNING", "", "node7", running_s=30.0)
PENDING = JobState(State.PENDING, "PENDING", "Priority", running_s=0.0)
STUCK = JobState(State.PENDING, "PENDING", "QOSMaxWallDurationPerJobLimit", remedy="lower walltime_min")


def _configurations(count: int) -> list[Configuration]:
    return [{"x": x} for x in range(count)]


@pytest.fixture
def story() -> Story:
    """One trial is evaluated, in 120 s; three are under way, and one waits to be submitted."""
    story = Story(max_jobs=4).ask(*_configurations(5))
    return story.submit((0, 1)).score(0, 1.0).submit((1, 1), (2, 1), (3, 1))


def shown(
    story: Story,
    states: dict[str, JobState],
    masters: list[dict[str, Any]] | None = None,
    waiting: str = "",
) -> list[str]:
    console = Console(width=160, file=StringIO(), record=True)
    console.print(queue_view(story.summary, jobs(story.summary, states), masters or [], waiting))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_jobs_stand_beside_what_the_scheduler_says_of_them(story: Story) -> None:
    attempt = story.history.trials[1].attempt
    assert attempt is not None
    now = attempt.submitted_at + 100
    one, two, three = jobs(story.summary, {"job-1-1": RUNNING, "job-2-1": PENDING}, now)
    assert (one["trial"], one["attempt"], one["job"], one["host"]) == (1, 1, "job-1-1", "node7")
    assert (one["state"], one["waited_s"], one["running_s"]) == ("running", 70, 30)
    assert (one["expected_end_at"], one["late"]) == (now + 90, False)
    assert (two["reason"], two["waited_s"], two["running_s"]) == ("Priority", 100, None)
    assert (two["expected_end_at"], two["late"]) == (None, False)
    assert three["state"] == "not asked"


def test_a_job_that_runs_beyond_what_is_usual_is_late(story: Story) -> None:
    long = JobState(State.RUNNING, "RUNNING", host="node7", running_s=121.0)
    assert jobs(story.summary, {"job-1-1": long})[0]["late"]
    _, line, *_ = shown(story, {"job-1-1": long})
    assert line.split()[-3:] == ["2", "min", "late"]


def test_what_is_usual_is_the_median_of_what_has_a_score() -> None:
    story = Story(max_jobs=9).ask(*_configurations(9)).submit(*((n, 1) for n in range(9)))
    assert typical_s(story.history) is None
    story._evaluate(0, {"outcome": "failed", "failure": "diverged", "ended_at": NOON + 1})
    assert typical_s(story.history) == 1
    for number, seconds in enumerate((100, 300, 900), start=1):
        story.score(number, 1.0, ended_at=NOON + seconds)
    assert typical_s(story.history) == 300


def test_jobs_that_will_never_start_are_said_to_be_so_with_the_remedy(story: Story) -> None:
    lines = shown(story, {"job-1-1": RUNNING, "job-2-1": STUCK, "job-3-1": STUCK})
    both = "jobs job-2-1, job-3-1 will not start without you"
    assert f"{both} (QOSMaxWallDurationPerJobLimit): lower walltime_min" in lines
    only = shown(story, {"job-2-1": STUCK})
    assert any(line.startswith("job job-2-1 will not start without you") for line in only)
    assert not any("without you" in line for line in shown(story, {"job-2-1": PENDING}))


def test_words_of_the_scheduler_that_look_like_markup_are_shown_as_they_are(story: Story) -> None:
    state = JobState(State.PENDING, "[PENDING]", REASON, "[/b]", remedy="[red]mend[/red]")
    text = "\n".join(shown(story, {"job-1-1": state}))
    for words in ("[PENDING]", REASON, "[/b]", "[red]mend[/red]"):
        assert words in text


def test_the_masters_own_jobs_and_the_hours_stand_below(story: Story) -> None:
    masters = [
        {"job": "7", "state": "RUNNING", "reason": "", "host": "n1"},
        {"job": "8", "state": "PENDING", "reason": "Dependency", "host": ""},
    ]
    *_, running, waiting, hours = shown(story, {}, masters)
    assert running == "master: job 7 RUNNING on n1"
    assert waiting == "master: job 8 PENDING: Dependency"
    assert hours.startswith("so far 0.03 host-hours (train 0.00, score 0.00, other 0.03, lost 0.00); waited")


def test_without_jobs_it_says_so() -> None:
    assert shown(Story(), {})[0] == "no jobs under way"


def test_trials_without_a_job_are_counted_and_the_charter_says_why(story: Story) -> None:
    place = {"scheduler": "local", "shared_dir": ".", "gpus": 0, "walltime_min": 1440, "max_jobs": 4}
    free = ClusterProfile.model_validate(place)
    assert without_job(story.summary, free, {}) == "1 trial not submitted yet"
    bound = ClusterProfile.model_validate({**place, "charter": {"timezone": "UTC", "working_days": DAYS}})
    said = without_job(story.summary, bound, {})
    assert said.startswith("1 trial not submitted yet, held back by the charter for good: ")
    assert "1 trial not submitted yet" in shown(story, {}, waiting=said)[4]
    assert not without_job(story.submit((4, 1)).summary, bound, {})


def test_the_facts_are_json(story: Story) -> None:
    found = queue_facts(story.summary, jobs(story.summary, {"job-1-1": RUNNING}), [])
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["typical_s"] == 120
    assert [job["trial"] for job in again["jobs"]] == [1, 2, 3]
    assert again["host_hours"]["other"] == 0.0333


def test_a_moment_is_a_time_of_day_and_names_another_day() -> None:
    now = datetime.now().astimezone()
    assert moment_text(now.timestamp()) == now.strftime("%H:%M")
    assert moment_text(now.timestamp() + 86400).endswith(now.strftime("%H:%M"))
    assert len(moment_text(now.timestamp() + 86400)) > 5
    assert moment_text(None) == ""
