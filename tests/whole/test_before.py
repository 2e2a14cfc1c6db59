"""Runs that the version before began, in `before/`: they go on, and jobs that it queued start and finish."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.contract import Failure
from orchestrator.record import History, RunDirectory, look
from orchestrator.record.ledger import read
from tests.fakes.studies import orchestrator

BEFORE = Path(__file__).with_name("before")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The shared directory as the version before left it, its paths those of this place."""
    root = tmp_path / "shared"
    shutil.copytree(BEFORE, root)
    (root / "studies").rename(root / "runs")  # a checkout has no folder of that name
    for path in root.rglob("*"):
        if path.is_file() and path.suffix != ".pkl":
            path.write_text(path.read_text(encoding="utf-8").replace("@ROOT@", str(root)), encoding="utf-8")
    return root


def test_a_study_with_finished_rounds_and_an_open_one_comes_to_the_same_end(root: Path) -> None:
    """Of its open trials one has a result that no master has seen, and the jobs of two are gone."""
    run = RunDirectory(root / "runs" / "rounds")
    before = look(run)
    assert (before.evaluated, len(before.history.open_trials)) == (7, 3)
    done = orchestrator("resume", run.path, cwd=root)
    assert done.returncode == 0, done.stderr
    history = look(run).history
    expected = json.loads((root / "rounds.json").read_text(encoding="utf-8"))
    found = []
    for trial in history.trials:
        evaluation = history.evaluation(trial)
        assert evaluation is not None
        found.append([list(trial.configuration.values()), evaluation.metrics["value"].value])
    assert found == expected
    assert [len(trial.attempts) for trial in history.trials[7:10]] == [1, 2, 2]
    kinds = [line["kind"] for line in read(run.ledger)]
    assert kinds.count("resumed") == 1


def test_a_study_that_was_stopped_tries_its_failures_again(root: Path) -> None:
    run = RunDirectory(root / "runs" / "stopped")
    ended = look(run).history.ended
    assert ended is not None
    assert not ended.is_done
    (root / "mended").touch()
    done = orchestrator("resume", run.path, cwd=root)
    assert done.returncode == 0, done.stderr
    summary = look(run)
    assert (summary.evaluated, summary.failed) == (5, 0)
    assert [len(trial.attempts) for trial in summary.history.trials] == [2, 2, 2, 1, 1]


@pytest.mark.parametrize("words", [("status",), ("queue",), ("tree",), ("report",), ("status", "--json")])
def test_commands_read_its_runs(root: Path, words: tuple[str, ...]) -> None:
    done = orchestrator(words[0], root / "runs" / "rounds", *words[1:], cwd=root)
    assert done.returncode == 0, done.stderr


def test_what_it_wrote_is_written_again_as_it_was(root: Path) -> None:
    """A version of before may be put back, too."""
    from orchestrator.record.facts import Entry

    for run in (root / "runs").iterdir():
        for line in read(run / "ledger.jsonl"):
            fact = Entry.of(line).fact
            assert {"seq": line["seq"], "at": line["at"], "kind": fact.kind, **fact.content} == line


def test_failures_keep_their_class(root: Path) -> None:
    history = History.replay(read(root / "runs" / "stopped" / "ledger.jsonl"))
    failures = [trial.evaluation.failure for trial in history.trials if trial.evaluation is not None]
    assert failures == [Failure.PROGRAM_ERROR] * 3


def test_a_job_that_waited_in_the_queue_starts_and_finishes(root: Path) -> None:
    attempt = root / "runs" / "rounds" / "trials" / "0009" / "attempt-1"
    (attempt / "claim.json").unlink()  # it had not started
    script = """
import sys
from submitit.core.utils import DelayedSubmission
delayed = DelayedSubmission.load(sys.argv[1])
delayed.args = (*delayed.args[:-1], sys.argv[2])  # its own attempt is where the version before ran
delayed.result()
"""
    pickled = root / "queued.pkl"
    subprocess.run([sys.executable, "-c", script, str(pickled), str(attempt)], check=True, timeout=60)
    result = json.loads((attempt / "result.json").read_text(encoding="utf-8"))
    assert (result["outcome"], result["trial"]) == ("ok", 9)
