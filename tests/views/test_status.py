"""What people and programs see of a study."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from orchestrator.contract import publish
from orchestrator.contract.files import dumps
from orchestrator.record import MasterLock, RunDirectory, look
from orchestrator.record.lock import Link
from orchestrator.views import status_facts, status_view, trial_facts, trials_view
from orchestrator.views.status import news, watch_view
from tests.fakes.builders import Story, whole_story


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """The run of a whole study, in a directory that looks like markup."""
    directory = tmp_path / "[bold]runs"
    directory.mkdir()
    return whole_story().write(directory)


def shown(view: RenderableType) -> list[str]:
    console = Console(width=200, file=StringIO(), record=True)
    console.print(view)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_looking_needs_no_state_of_the_algorithm(run: RunDirectory) -> None:
    summary = look(run)
    assert summary.history.state is None
    assert len(summary.history.trials) == 10


def test_facts_are_json_and_say_where_the_study_stands(run: RunDirectory) -> None:
    summary = look(run)
    found = json.loads(json.dumps(status_facts(run, summary), allow_nan=False))
    assert {key: found[key] for key in ("study", "state", "why", "evaluated", "failed", "open")} == {
        "study": "story",
        "state": "done",
        "why": "the budget of 8 evaluations is spent",
        "evaluated": 8,
        "failed": 2,
        "open": 0,
    }
    assert found["incumbent"]["trial"] == 5
    assert found["incumbent"]["metrics"]["loss"] == {"value": 1.68, "stderr": 0.03, "n": None}
    assert found["base"]["configuration"] == {}


def test_the_facts_of_a_trial_name_its_failure_its_source_and_its_attempts(run: RunDirectory) -> None:
    summary = look(run)
    failed, tried_twice, shared = (trial_facts(summary, summary.history.trials[n]) for n in (2, 4, 8))
    assert (failed["outcome"], failed["message"]) == ("diverged", "loss is nan at step 3 [rank0]")
    assert failed["metrics"] == {}
    assert (tried_twice["outcome"], tried_twice["attempts"]) == ("ok", 2)
    assert (shared["outcome"], shared["shares"], shared["seconds"]) == ("shared", 3, None)
    assert shared["metrics"]["loss"]["value"] == 1.7


def test_the_facts_of_a_trial_that_waits_are_empty() -> None:
    summary = Story().ask({"x": 1}).summary
    waiting = trial_facts(summary, summary.history.trials[0])
    assert (waiting["outcome"], waiting["metrics"], waiting["seconds"]) == ("waiting", {}, None)


def test_the_status_is_a_few_lines_with_the_incumbent_and_the_base_model(run: RunDirectory) -> None:
    lines = shown(status_view(run, look(run)))
    assert lines == [
        f"study       story (soo) in {run.path}",
        "state       done: the budget of 8 evaluations is spent",
        "progress    8 of 8 evaluated, 2 failed, 0 open",
        "spent       0.30 host-hours (1.20 GPU-hours)",
        "incumbent   trial 5: loss 1.680 ± 0.030",
        "            rate=1e-05 rank=32 kind=a[b]",
        "base model  loss 2.500 ± 0.050",
    ]


def test_a_message_that_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    story = Story().ask({"x": 1}).add("ended", why="failed", message="[rank0] no file [/data/x]: mend it")
    run = story.write(tmp_path)
    assert "state     stopped: [rank0] no file [/data/x]: mend it" in shown(status_view(run, look(run)))


def test_the_state_says_whether_a_master_runs(tmp_path: Path) -> None:
    run = Story().ask({"x": 1}).write(tmp_path)
    assert (
        status_facts(run, look(run))["state"]
        == "no master (`orchestrator resume`, or the next `tick`, goes on)"
    )
    with MasterLock(run):
        assert status_facts(run, look(run))["state"] == "running"


@pytest.mark.parametrize(
    ("why", "state"), [("done", "done"), ("failed", "stopped"), ("cancelled", "cancelled")]
)
def test_the_state_says_how_the_study_ended(tmp_path: Path, why: str, state: str) -> None:
    run = Story().add("ended", why=why, message="so").write(tmp_path)
    assert status_facts(run, look(run))["state"] == state


def test_a_study_that_is_resumed_runs_before_its_ledger_says_so(tmp_path: Path) -> None:
    run = Story().add("ended", why="cancelled", message="so").write(tmp_path)
    with MasterLock(run):
        assert status_facts(run, look(run))["state"] == "running"
    publish(run.master_job_file, dumps(asdict(Link(1, "7"))))
    assert status_facts(run, look(run))["state"] == "waiting for its master's job"
    assert "so" not in " ".join(shown(status_view(run, look(run)))[1:3])


def test_the_table_marks_the_incumbent_and_says_what_became_of_each_trial(run: RunDirectory) -> None:
    head, *rows = shown(trials_view(run, look(run)))
    assert head.split() == ["trial", "rate", "rank", "loss", "acc", "outcome", "time"]
    assert [row.split() for row in rows] == [
        ["0", "base", "2.500", "±", "0.050", "—", "ok", "2", "min"],
        ["1", "0.1", "2", "2.100", "±", "0.040", "—", "ok", "2", "min"],
        ["2", "0.01", "4", "—", "—", "diverged", "2", "min"],
        ["3", "0.001", "8", "1.700", "±", "0.030", "—", "ok", "2", "min"],
        ["4", "0.0001", "16", "1.900", "±", "0.030", "—", "ok", "2", "min"],
        ["★", "5", "1e-05", "32", "1.680", "±", "0.030", "—", "ok", "2", "min"],
        ["6", "1e-06", "64", "—", "—", "out_of_memory", "2", "min"],
        ["7", "1e-07", "128", "1.950", "±", "0.020", "—", "ok", "2", "min"],
        ["8", "0.001", "8", "1.700", "±", "0.030", "—", "shared", "with", "3"],
        ["9", "1e-08", "256", "2.200", "±", "0.060", "—", "ok", "2", "min"],
    ]


def test_a_parameter_that_is_not_always_there_has_a_column(run: RunDirectory) -> None:
    story = Story().ask({"x": 1, "kind": "a"}, {"x": 1, "kind": "b", "slope": 0.5})
    head, *rows = shown(trials_view(run, story.summary))
    assert head.split() == ["trial", "kind", "slope", "loss", "outcome", "time"]
    assert [row.split()[:3] for row in rows] == [["0", "a", "—"], ["1", "b", "0.5"]]


def test_a_trial_runs_once_its_job_has_claimed_it(tmp_path: Path) -> None:
    story = Story().ask({"x": 1}, {"x": 2}, {"x": 3}).submit((0, 1), (1, 1))
    run = story.write(tmp_path)
    run.attempt(1, 1).mkdir(parents=True)
    (run.attempt(1, 1) / "claim.json").touch()
    _, *rows = shown(trials_view(run, story.summary))
    assert [row.split()[-1] for row in rows] == ["submitted", "running", "waiting"]


def test_the_table_can_keep_to_the_newest(run: RunDirectory) -> None:
    _, *rows = shown(trials_view(run, look(run), last=3))
    assert [row.split()[0] for row in rows] == ["7", "8", "9"]


def test_a_value_that_looks_like_markup_is_shown_as_it_is(run: RunDirectory) -> None:
    story = Story().ask({"kind": "[red]"}, {"kind": "[/red]"}, {"kind": "x[1]"})
    _, *rows = shown(trials_view(run, story.summary))
    assert [row.split()[1] for row in rows] == ["[red]", "[/red]", "x[1]"]


def test_a_study_that_has_just_begun_has_views_too(tmp_path: Path) -> None:
    story = Story()
    run = story.write(tmp_path)
    assert shown(trials_view(run, story.summary))
    assert any("0 of 8 evaluated" in line for line in shown(watch_view(run, story.summary, rows=10)))


def test_the_live_screen_keeps_at_least_three_trials_however_small_it_is(run: RunDirectory) -> None:
    text = "\n".join(shown(watch_view(run, look(run), rows=-5)))
    assert "8 of 8 evaluated" in text
    assert "shared with 3" in text


def test_news_are_what_came_between_two_looks() -> None:
    story = Story().ask({"x": 1}, {"x": 2}).submit((0, 1))
    before = story.summary
    assert news(before, story.summary) == ""
    story.score(0, 2.5).submit((1, 1)).add("failed", trial=1, attempt=1, failure="killed", message="")
    line = news(before, story.summary)
    assert line.startswith("story: 1 evaluated; 1 to be tried again; 1 submitted; 1 of 8 done, about ")
    assert line.endswith(" left; best loss 2.5 (trial 0)")
    story.add("ended", why="done", message="the budget is spent")
    assert news(story.summary, story.summary).endswith("ended: the budget is spent")


def test_the_status_names_the_master_and_the_job_that_follows_it(tmp_path: Path) -> None:
    run = Story().ask({"x": 1}).write(tmp_path)
    assert status_facts(run, look(run))["master"] is None
    publish(run.master_job_file, dumps(asdict(Link(2, "78"))))
    assert "master    job 78 is to go on with it: see `orchestrator queue`" in shown(
        status_view(run, look(run))
    )
    with MasterLock(run, job="77"):
        [line] = [line for line in shown(status_view(run, look(run))) if line.startswith("master")]
        assert f"host {socket.gethostname()}, pid {os.getpid()}, since" in line
        assert line.endswith("job 77; job 78 follows it")
        found = json.loads(json.dumps(status_facts(run, look(run))))["master"]
        assert (found["holder"]["job"], found["next_job"]) == ("77", "78")
    publish(run.master_job_file, dumps(asdict(Link(2, ""))))
    assert status_facts(run, look(run))["master"] is None
