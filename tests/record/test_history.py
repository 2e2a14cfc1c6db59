"""A ledger's records, folded into the state of a study."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.contract import Failure, Outcome
from orchestrator.errors import LedgerCorrupt
from orchestrator.record import History
from orchestrator.record.facts import Entry
from orchestrator.record.ledger import read
from tests.fakes.builders import NOON, Story, whole_story


def test_folding_record_by_record_and_replaying_the_file_give_the_same(tmp_path: Path) -> None:
    story, folded = whole_story(), History()
    for record in story.records:
        folded.fold(Entry.of(record))
    assert folded == History.replay(read(story.write(tmp_path).ledger)) == story.history


def test_passing_over_the_states_changes_nothing_but_the_state(tmp_path: Path) -> None:
    run = whole_story().write(tmp_path)
    quick = History.replay(read(run.ledger, states=False))
    whole = History.replay(read(run.ledger))
    assert (quick.state, whole.state) == (None, {"asked": 9})
    assert (quick.trials, quick.untold, quick.ended) == (whole.trials, whole.untold, whole.ended)


def test_a_state_counts_only_with_the_ask_it_was_written_for() -> None:
    story = Story().ask({"x": 1}, state={"ask": 0})
    assert story.add("state", state={"ask": 1}).history.state == {"ask": 0}
    assert story.ask({"x": 2}, state={"ask": 1}).history.state == {"ask": 1}


def test_what_was_evaluated_before_an_ask_was_told_and_all_else_is_not() -> None:
    story = Story().ask({"x": 1}, {"x": 2}, {"x": 3}).submit((0, 1), (1, 1), (2, 1)).score(1, 1.0)
    assert story.history.untold == [0, 1, 2]
    story.add("state", state={})  # without the ask it was written for it says nothing
    assert story.score(0, 1.0).history.untold == [0, 1, 2]
    story.ask({"x": 4}, {"x": 1}, {"x": 3}, shares={1: 0, 2: 2})
    assert story.history.untold == [2, 3, 4, 5]
    story.submit((3, 1)).score(3, 1.0).ask({"x": 5})
    assert story.history.untold == [2, 5, 6], "5 shares with 2, which is open"
    assert [trial.number for trial in story.history.open_trials] == [2, 6]
    assert story.history.wave == 2


def test_evaluations_are_kept_in_the_order_in_which_they_came() -> None:
    story = Story().ask({"x": 1}, {"x": 2}, {"x": 3}).submit((0, 1), (1, 1), (2, 1))
    story.score(2, 1.0).fail(0, "disk_full").score(1, 1.0)
    assert story.history.evaluations == [2, 0, 1]
    assert story.add("reopened", trials=[0]).history.evaluations == [2, 1]


def test_what_a_person_enqueued_is_in_the_state_of_the_next_ask() -> None:
    story = Story().ask({"x": 1}).add("enqueued", request="a.json", configuration={"x": 7})
    assert story.history.enqueued == [{"x": 7}]
    assert story.add("state", state={}).history.enqueued == [{"x": 7}]
    assert story.ask({"x": 2}).history.enqueued == []
    assert set(story.history.requests) == {"a.json"}


def test_trials_are_numbered_over_all_asks() -> None:
    history = Story().ask({"x": 1}, {"x": 2}, base=True).ask({"x": 3}).history
    assert [trial.ask for trial in history.trials] == [0, 0, 0, 1]
    assert [trial.number for trial in history.trials] == [0, 1, 2, 3]
    assert [trial.suggestion for trial in history.trials] == [None, 0, 1, 2]
    assert [trial.configuration for trial in history.trials] == [{}, {"x": 1}, {"x": 2}, {"x": 3}]
    assert history.trials[0].point is None
    assert history.trials[3].point == (0.5,)


def test_a_shared_trial_has_its_sources_evaluation_and_costs_nothing() -> None:
    history = (
        Story().ask({"x": 1}).submit((0, 1)).score(0, 1.5).ask({"x": 1}, {"x": 2}, shares={0: 0}).history
    )
    assert history.evaluation(history.trials[1]) is history.trials[0].evaluation
    assert history.evaluation(history.trials[1]) is not None
    assert [trial.number for trial in history.spent] == [0, 2]
    assert [trial.number for trial in history.open_trials] == [2]


def test_the_base_model_is_evaluated_but_not_paid_from_the_budget() -> None:
    history = Story().ask({"x": 1}, base=True).history
    assert [trial.number for trial in history.open_trials] == [0, 1]
    assert [trial.number for trial in history.spent] == [1]


def test_a_submission_without_an_answer_is_remembered_by_its_token() -> None:
    history = Story().ask({"x": 1}, {"x": 2}).submit((0, 1), (1, 1), jobs=False).history
    [(token, attempts)] = history.submissions.items()
    assert attempts == [(0, 1), (1, 1)]
    attempt = history.trials[0].attempt
    assert attempt is not None
    assert (attempt.token, attempt.job) == (token, None)


def test_an_answer_gives_each_attempt_its_job() -> None:
    history = Story().ask({"x": 1}, {"x": 2}).submit((0, 1), (1, 1)).history
    assert history.submissions == {}
    assert history.submission_count == 1
    assert [trial.attempts[0].job for trial in history.trials] == ["job-0-1", "job-1-1"]


def test_an_attempt_that_can_never_start_is_withdrawn_and_its_trial_waits_again() -> None:
    story = Story().ask({"x": 1}, {"x": 2}).submit((0, 1), (1, 1), jobs=False)
    [token] = story.history.submissions
    history = story.add("submitted", token=token, jobs=[None, "5"]).history
    assert history.trials[0].attempts[0].ended == "withdrawn"
    assert history.trials[0].attempt is None
    assert history.trials[1].attempt is not None


def test_a_failed_attempt_is_followed_by_another() -> None:
    story = Story().ask({"x": 1}).submit((0, 1))
    story.add("failed", trial=0, attempt=1, failure="killed", message="")
    assert story.history.trials[0].attempt is None
    trial = story.submit((0, 2)).score(0, 1.0).history.trials[0]
    assert [attempt.ended for attempt in trial.attempts] == ["killed", "evaluated"]


def test_an_evaluation_is_typed_again_and_dated() -> None:
    story = (
        Story().ask({"x": 1}, {"x": 2}).submit((0, 1), (1, 1)).score(0, 1.5, 0.25).fail(1, "diverged", "nan")
    )
    scored, failed = story.history.trials
    assert scored.evaluation is not None
    assert failed.evaluation is not None
    assert scored.evaluation.outcome is Outcome.OK
    assert (scored.evaluation.metrics["loss"].value, scored.evaluation.metrics["loss"].stderr) == (1.5, 0.25)
    assert failed.evaluation.failure is Failure.DIVERGED
    assert failed.evaluated_at == NOON + 60 * 6
    assert story.history.open_trials == []


def test_reopened_trials_are_tried_again_and_the_study_goes_on() -> None:
    story = Story().ask({"x": 1}, {"x": 2}).submit((0, 1), (1, 1)).score(0, 1.0).fail(1, "disk_full")
    story.add("ended", why="failed", message="").add("reopened", trials=[1])
    history = story.history
    assert history.ended is None
    assert [trial.number for trial in history.open_trials] == [1]
    assert history.trials[1].attempt is None
    assert len(history.trials[1].attempts) == 1


def test_only_a_reopening_takes_an_end_back() -> None:
    story = Story().add("ended", why="cancelled", message="")
    assert story.add("resumed", host="a", pid=1, version="0").history.ended is not None
    assert story.add("reopened", trials=[]).history.ended is None


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("of a newer version", {}),
        ("asked", {}),
        ("asked", {"trials": 3}),
        ("submitted", {"token": "none", "jobs": []}),
        ("submitted", {"token": "story-abcdef-0003", "jobs": ["one", "too many"]}),
        ("evaluated", {"trial": 9, "evaluation": {"outcome": "ok"}}),
        ("evaluated", {"trial": 0, "evaluation": {"outcome": "perhaps"}}),
    ],
)
def test_a_record_that_cannot_stand_there_is_named(kind: str, fields: dict[str, object]) -> None:
    story = Story().ask({"x": 1}).submit((0, 1), jobs=False).add(kind, **fields)
    with pytest.raises(LedgerCorrupt, match=rf"record 4 of the ledger \({kind}\)"):
        _ = story.history
