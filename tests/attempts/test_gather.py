"""Waiting for a round: the result file is the truth, the scheduler only says whether to keep waiting."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator.attempts.gather import Gatherer, Pending
from orchestrator.contract import Failure, Outcome, Result
from orchestrator.errors import StudyStopped
from orchestrator.executors import Executor, JobState, State
from orchestrator.executors.base import Overrides

POLL_S, GRACE_S, PATIENCE_S = 30.0, 60.0, 600.0
RUNNING, UNKNOWN, LOST = JobState(State.RUNNING), JobState(State.UNKNOWN), JobState(State.LOST)
ENDED = JobState(State.ENDED, "TIMEOUT", "0:15", "node7", Failure.WALLTIME)


class ScriptedScheduler(Executor):
    """Says of every job what `state` is; counts the questions."""

    def __init__(self) -> None:
        self.state: JobState | None = RUNNING
        self.asked: list[tuple[str, ...]] = []

    def poll(self, jobs: Sequence[str]) -> dict[str, JobState]:
        self.asked.append(tuple(jobs))
        return dict.fromkeys(jobs, self.state) if self.state else {}

    def submit(
        self, attempts: Sequence[Path], token: str, folder: Path, overrides: Overrides = Overrides()
    ) -> list[str]:
        raise NotImplementedError

    def cancel(self, jobs: Sequence[str]) -> None:
        raise NotImplementedError

    def find(self, prefix: str) -> dict[str, list[str]]:
        raise NotImplementedError

    def preview(
        self, attempts: Sequence[Path], token: str, folder: Path, overrides: Overrides = Overrides()
    ) -> str:
        raise NotImplementedError

    def submit_command(
        self, argv: Sequence[str], token: str, folder: Path, *, walltime_min: float, after: str | None
    ) -> str:
        raise NotImplementedError


class Round:
    """Attempts under way, their scheduler, and a clock that only this test moves."""

    def __init__(self, directory: Path, jobs: int = 1) -> None:
        self.now = 0.0
        self.scheduler = ScriptedScheduler()
        self.said: list[str] = []
        self.gatherer = Gatherer(
            self.scheduler,
            ("loss", "acc"),
            poll_s=POLL_S,
            grace_s=GRACE_S,
            patience_s=PATIENCE_S,
            say=self.said.append,
            clock=lambda: self.now,
        )
        self.logs = directory / "logs"
        self.logs.mkdir()
        self.pending = [Pending(n, 1, directory / f"{n}", self.logs, job=str(100 + n)) for n in range(jobs)]
        for pending in self.pending:
            pending.directory.mkdir()

    def step(self) -> list[Result]:
        return self.gatherer.step(self.pending)

    def settled_after(self, seconds: float) -> Result | None:
        """Look every second for so long; the first evaluation of the only attempt."""
        end = self.now + seconds
        while self.now < end:
            if found := self.step():
                return found[0]
            self.now += 1
        return None

    def result(self, place: int = 0, **changes: Any) -> None:
        metrics = {"loss": {"value": 1.5}, "acc": {"value": 0.5}}
        content = {"outcome": "ok", "metrics": metrics, "trial": place, "attempt": 1, **changes}
        self.write(json.dumps(content).encode(), place)

    def write(self, content: bytes, place: int = 0) -> None:
        (self.pending[place].directory / "result.json").write_bytes(content)


@pytest.fixture
def one(tmp_path: Path) -> Round:
    return Round(tmp_path)


# -- the result first ---------------------------------------------------------------------------------------


def test_a_result_settles_its_attempt_without_a_question_to_the_scheduler(one: Round) -> None:
    one.result()
    [evaluation] = one.step()
    assert (evaluation.outcome, evaluation.metrics["loss"].value) == (Outcome.OK, 1.5)
    assert one.scheduler.asked == []


@pytest.mark.parametrize("state", [RUNNING, UNKNOWN, LOST, ENDED, None])
def test_a_result_counts_whatever_the_scheduler_says(one: Round, state: JobState | None) -> None:
    one.scheduler.state = state
    assert one.step() == []
    one.result()
    [evaluation] = one.step()
    assert evaluation.outcome is Outcome.OK


def test_a_failure_that_the_job_reports_needs_no_metric(one: Round) -> None:
    one.result(outcome="failed", failure="diverged", metrics={}, message="loss is nan")
    [evaluation] = one.step()
    assert (evaluation.failure, evaluation.message) == (Failure.DIVERGED, "loss is nan")


def test_only_jobs_without_a_result_are_asked_for(tmp_path: Path) -> None:
    many = Round(tmp_path, jobs=3)
    many.result(1)
    [evaluation] = many.step()
    assert evaluation.trial == 1
    assert many.scheduler.asked == [("100", "102")]


def test_with_nothing_under_way_nobody_is_asked(tmp_path: Path) -> None:
    nothing = Round(tmp_path, jobs=0)
    assert nothing.step() == []
    assert nothing.scheduler.asked == []


# -- the scheduler second -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [RUNNING, JobState(State.PENDING), UNKNOWN, None])
def test_what_is_not_known_to_be_over_is_waited_for(one: Round, state: JobState | None) -> None:
    one.scheduler.state = state
    assert one.settled_after(100 * GRACE_S) is None


def test_a_job_that_is_over_has_the_grace_period_to_show_its_result(one: Round) -> None:
    one.scheduler.state = ENDED
    assert one.settled_after(GRACE_S) is None
    one.result()
    evaluation = one.settled_after(1)
    assert evaluation is not None
    assert evaluation.outcome is Outcome.OK


def test_a_result_that_comes_at_the_last_moment_wins(one: Round) -> None:
    one.scheduler.state = ENDED
    assert one.settled_after(GRACE_S) is None
    poll = one.scheduler.poll

    def result_comes_now(jobs: Sequence[str]) -> dict[str, JobState]:
        one.result()
        return poll(jobs)

    one.scheduler.poll = result_comes_now  # type: ignore[method-assign]
    one.now += POLL_S
    [evaluation] = one.step()
    assert evaluation.outcome is Outcome.OK


def test_without_a_result_the_attempt_fails_of_what_the_state_implies(one: Round) -> None:
    one.scheduler.state = ENDED
    (one.pending[0].directory / "log.out").write_text("".join(f"line {n}\n" for n in range(9)))
    assert one.settled_after(GRACE_S) is None
    evaluation = one.settled_after(1)
    assert evaluation is not None
    assert (evaluation.failure, evaluation.host, evaluation.job) == (Failure.WALLTIME, "node7", "100")
    assert evaluation.message == (
        "job 100 ended and left no result (TIMEOUT 0:15); "
        "its log ends: line 4 | line 5 | line 6 | line 7 | line 8"
    )


def test_a_job_that_the_scheduler_forgot_is_lost(one: Round) -> None:
    one.scheduler.state = LOST
    evaluation = one.settled_after(GRACE_S + 1)
    assert evaluation is not None
    assert evaluation.failure is Failure.LOST


def test_a_job_that_died_before_its_own_log_shows_the_schedulers_and_no_other_jobs(tmp_path: Path) -> None:
    many = Round(tmp_path, jobs=2)
    many.scheduler.state = ENDED
    for n in range(2):
        many.scheduler.log(f"{100 + n}", many.logs).write_bytes(b"\xff prologue failed %d" % n)
    many.step()
    many.now += GRACE_S
    first, second = many.step()
    assert first.message.endswith("its log ends: \ufffd prologue failed 0")
    assert second.message.endswith("its log ends: \ufffd prologue failed 1")


@pytest.mark.parametrize("between", [RUNNING, JobState(State.PENDING), UNKNOWN])
def test_a_job_that_is_over_and_then_again_is_not_starts_its_grace_period_anew(
    one: Round, between: JobState
) -> None:
    for _ in range(5):
        one.scheduler.state = ENDED
        assert one.settled_after(POLL_S + 1) is None
        one.scheduler.state = between
        assert one.settled_after(POLL_S + 1) is None
    one.scheduler.state = ENDED
    assert one.settled_after(GRACE_S + POLL_S) is not None


# -- results that are none ----------------------------------------------------------------------------------


def changed(**changes: Any) -> Callable[[Round], None]:
    return lambda one: one.result(**changes)


def content(text: bytes) -> Callable[[Round], None]:
    return lambda one: one.write(text)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (content(b""), "result.json is no JSON"),
        (content(b'{"outcome": "o'), "result.json is no JSON"),
        (content(b"\xff\xfe{"), "result.json is no JSON"),
        (content(b"[]"), "result.json is no evaluation"),
        (content(b'{"outcome": "ok"}'), "result.json is no evaluation: trial: Field required"),
        (changed(trial=3), "result.json is of trial 3, attempt 1"),
        (changed(attempt=2), "result.json is of trial 0, attempt 2"),
        (changed(metrics={"acc": {"value": 1.0}, "f1": {"value": 1}}), "lacks loss; it has: acc, f1"),
        (changed(metrics={}), "the result lacks loss; it has: none"),
        (changed(metrics={"loss": {"value": math.nan}, "acc": {"value": 1}}), "metrics.loss.value"),
        (changed(metrics={"loss": {"value": math.inf}, "acc": {"value": 1}}), "metrics.loss.value"),
        (changed(metrics={"loss": {"value": "low"}, "acc": {"value": 1}}), "metrics.loss.value"),
        (changed(outcome="failed"), "names its failure class"),
        (changed(surprise=1), "surprise: Extra inputs"),
    ],
)
def test_a_result_that_is_none_is_a_failure_which_says_why(
    one: Round, write: Callable[[Round], None], words: str
) -> None:
    write(one)
    [evaluation] = one.step()
    assert (evaluation.failure, evaluation.trial, evaluation.attempt) == (Failure.BAD_RESULT, 0, 1)
    assert words in evaluation.message


# -- a filesystem that is away ------------------------------------------------------------------------------


def hide(pending: Pending) -> None:
    pending.directory.rename(pending.directory.with_name("away"))


def unhide(pending: Pending) -> None:
    pending.directory.with_name("away").rename(pending.directory)


@pytest.mark.parametrize("state", [RUNNING, ENDED, LOST])
def test_what_cannot_be_read_is_waited_for_and_then_stops_the_study(one: Round, state: JobState) -> None:
    one.scheduler.state = state
    hide(one.pending[0])
    assert one.settled_after(PATIENCE_S) is None
    assert len(one.said) == 1
    with pytest.raises(StudyStopped, match=r"0: cannot be read: .*resume"):
        one.settled_after(3)


@pytest.mark.parametrize("state", [RUNNING, ENDED])
def test_a_result_behind_an_outage_is_not_lost(one: Round, state: JobState) -> None:
    one.scheduler.state = state
    one.result()
    hide(one.pending[0])
    assert one.settled_after(GRACE_S + 30) is None
    unhide(one.pending[0])
    evaluation = one.settled_after(1)
    assert evaluation is not None
    assert evaluation.outcome is Outcome.OK


def test_short_outages_do_not_add_up(one: Round) -> None:
    for _ in range(5):
        hide(one.pending[0])
        assert one.settled_after(GRACE_S) is None
        unhide(one.pending[0])
        assert one.settled_after(2) is None


def test_the_grace_period_starts_after_an_outage(one: Round) -> None:
    one.scheduler.state = ENDED
    hide(one.pending[0])
    assert one.settled_after(GRACE_S + 30) is None
    unhide(one.pending[0])
    assert one.settled_after(GRACE_S) is None
    assert one.settled_after(2) is not None


# -- how often the scheduler is asked -----------------------------------------------------------------------


def test_questions_come_soon_after_a_submission_and_then_at_most_one_in_each_interval(one: Round) -> None:
    asked_at: list[float] = []
    poll = one.scheduler.poll

    def noted(jobs: Sequence[str]) -> dict[str, JobState]:
        asked_at.append(one.now)
        return poll(jobs)

    one.scheduler.poll = noted  # type: ignore[method-assign]
    one.gatherer.expect_soon()
    assert one.settled_after(10 * POLL_S) is None
    pauses = [after - before for before, after in pairwise(asked_at)]
    assert pauses == [2, 4, 8, 16] + [POLL_S] * (len(pauses) - 4)
    one.now = asked_at[-1] + 1
    one.gatherer.expect_soon()
    one.step()
    assert asked_at[-1] == one.now


def test_all_jobs_are_asked_for_in_one_question(tmp_path: Path) -> None:
    many = Round(tmp_path, jobs=20)
    many.step()
    assert many.scheduler.asked == [tuple(str(100 + n) for n in range(20))]


def test_a_submission_every_moment_asks_no_more_than_once_a_second(one: Round) -> None:
    for _ in range(100):
        one.gatherer.expect_soon()
        one.step()
        one.now += 0.1
    assert len(one.scheduler.asked) <= 11
