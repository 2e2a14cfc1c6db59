"""A study may spend more than it was launched with: by an option, its file, or an enqueued configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.studies import Run, orchestrator, run_study, write_synthetic_study


def launched(shared: Path, algorithm: str = "soo", evaluations: int = 4) -> tuple[Path, Run]:
    study = write_synthetic_study(shared, algorithm=algorithm, evaluations=evaluations)
    run = run_study(shared, study)
    assert run.code == 0, run.errors
    return study, run


def points(run: Run) -> list[object]:
    return [trial.point for trial in run.history.spent]


def why_ended(run: Run) -> str | None:
    ended = run.history.ended
    return None if ended is None else ended.message


def test_a_budget_that_grew_goes_on_to_the_points_of_a_study_that_had_it_from_the_start(
    tmp_path: Path,
) -> None:
    long, short = tmp_path / "long", tmp_path / "short"
    for folder in (long, short):
        folder.mkdir()
    _, whole = launched(long, evaluations=9)
    study, run = launched(short)
    done = orchestrator("resume", run.path, "--evaluations", "7", cwd=short)
    assert done.returncode == 0, done.stderr
    assert "the budget of 7 evaluations is spent" in done.stdout
    assert points(run) == points(whole)[:7]
    study.write_text(study.read_text().replace("evaluations = 4", "evaluations = 9"))
    done = orchestrator("resume", run.path, cwd=short)
    assert done.returncode == 0, done.stderr
    assert points(run) == points(whole)
    again = orchestrator("resume", run.path, cwd=short)
    assert again.returncode == 0
    assert "9 of 9 evaluated" in again.stdout
    assert len(run.history.spent) == 9


def test_a_budget_below_what_was_asked_for_and_a_design_are_refused(tmp_path: Path) -> None:
    _, run = launched(tmp_path)
    few = orchestrator("resume", run.path, "--evaluations", "3", cwd=tmp_path)
    assert (few.returncode, "3 evaluations are fewer than the 4" in few.stderr) == (2, True)
    assert run.history.budget.evaluations == 4
    other = tmp_path / "design"
    other.mkdir()
    _, run = launched(other, "lhs")
    design = orchestrator("resume", run.path, "--evaluations", "6", cwd=other)
    assert design.returncode == 2
    assert "lhs plans its whole design at once" in design.stderr
    assert why_ended(run) == "the budget of 4 evaluations is spent"


@pytest.mark.parametrize("algorithm", ["random", "lhs"])
def test_configurations_that_come_after_the_end_have_evaluations_of_their_own(
    tmp_path: Path, algorithm: str
) -> None:
    _, run = launched(tmp_path, algorithm)
    for value in (1, 3):
        late = orchestrator("enqueue", run.path, f"x0={value}", "x1=2", cwd=tmp_path)
        assert late.returncode == 0, late.stderr
        assert "orchestrator resume" in late.stdout
    done = orchestrator("resume", run.path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [t.configuration for t in run.history.spent[4:]] == [{"x0": 1, "x1": 2}, {"x0": 3, "x1": 2}]
    assert run.history.budget.evaluations == 6
    assert why_ended(run) == "the budget of 6 evaluations is spent"


def test_what_a_search_has_planned_comes_before_it_and_is_said(tmp_path: Path) -> None:
    _, run = launched(tmp_path)
    late = orchestrator("enqueue", run.path, "x0=1", "x1=2", cwd=tmp_path)
    assert late.returncode == 2
    assert "soo has planned 1 evaluations that come first" in late.stderr
    assert not any((run.path / "requests").iterdir())
    assert why_ended(run) is not None


def test_any_other_change_of_the_file_is_one_still(tmp_path: Path) -> None:
    study, run = launched(tmp_path)
    text = study.read_text()
    study.write_text(text.replace("evaluations = 4", "evaluations = 6").replace("seed = 5", "seed = 6"))
    refused = orchestrator("resume", run.path, "--evaluations", "6", cwd=tmp_path)
    assert refused.returncode == 2
    assert "the study changed since launch" in refused.stderr
