"""Which adapters stay, when the rest goes, and what a crash, a late job or a filesystem changes of it."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contract import Assignment, Failure, LitGPTEvaluation
from orchestrator.errors import InputError, StudyStopped
from orchestrator.master import retention
from orchestrator.preflight import read_checked_study
from orchestrator.record.summary import kept
from tests.fakes.builders import Story
from tests.fakes.scripted import Outcomes, ScriptedCluster, Study, study, value
from tests.fakes.studies import LITGPT, write_study

LORA = LitGPTEvaluation(kind="litgpt", model="demo", data="demo", epochs=1)
PARTS = ("adapter.pth", "training-0123-000000007.pth", ".training-0123-000000008.pth.host-1")


def trained(assignment: Assignment) -> float:
    """What a job leaves of a training, one that was interrupted once; and its score."""
    assert assignment.checkpoint is not None
    folder = Path(assignment.checkpoint)
    folder.mkdir(exist_ok=True)
    for name in PARTS:
        (folder / name).write_text(f"trial {assignment.trial}")
    return value(assignment)


def lora_study(
    directory: Path,
    outcome: Outcomes = trained,
    *,
    keep: int = 2,
    cluster: Callable[..., ScriptedCluster] = ScriptedCluster,
    **options: Any,
) -> Study:
    spec, profile = study(directory, **options)
    spec = dataclasses.replace(spec, evaluation=LORA, keep_adapters=keep)
    return Study(spec, profile, cluster(outcome=outcome))


def left(found: Study) -> dict[int, list[str]]:
    """Trial -> what its checkpoint holds; only of those that have one."""
    folders = found.run.path.glob("trials/*/checkpoint")
    return {int(path.parent.name): sorted(one.name for one in path.iterdir()) for path in folders}


def best(found: Study, count: int) -> list[int]:
    scored = [t for t in found.history.spent if t.evaluation is not None and not t.evaluation.failure]
    assert all(t.evaluation is not None for t in scored)
    values = {t.number: t.evaluation.metrics["value"].value for t in scored if t.evaluation is not None}
    return sorted(sorted(values, key=lambda number: (values[number], number))[:count])


@pytest.mark.parametrize("keep", [0, 1, 3, 50])
def test_the_adapters_of_the_best_stay_and_nothing_else(tmp_path: Path, keep: int) -> None:
    found = lora_study(tmp_path, keep=keep)
    found.go()
    assert left(found) == {number: ["adapter.pth"] for number in best(found, keep)}


def test_what_is_not_needed_goes_as_soon_as_that_is_known(tmp_path: Path) -> None:
    found = lora_study(tmp_path, evaluations=12)
    while found.go(once=True) is None:
        evaluated = set(found.history.evaluations)
        assert {number for number in left(found) if number in evaluated} == set(best(found, 2))
        found.cluster.wait(0)


@pytest.mark.parametrize(("direction", "best"), [("minimize", [2, 3, 5]), ("maximize", [4, 2, 3])])
def test_the_earlier_of_equals_stays(direction: str, best: list[int]) -> None:
    story = Story(objective={"metric": "loss", "direction": direction, "report": []})
    story.ask({"x": 0.0}, {"x": 1.0}, {"x": 2.0}, {"x": 3.0}, {"x": 4.0}, base=True)
    story.submit(*((k, 1) for k in range(6))).score(0, 0.1 if direction == "minimize" else 9.0)
    for trial, loss in ((5, 2.0), (4, 3.0), (3, 2.0), (2, 2.0)):
        story.score(trial, loss)
    story.fail(1, "diverged")
    assert [t.number for t in kept(story.history, 3)] == best  # the base model is not one of them


def test_of_a_shared_score_the_adapter_is_that_of_the_trial_that_ran(tmp_path: Path) -> None:
    found = lora_study(tmp_path, algorithm="random", evaluations=9, grid=2, keep=3)
    found.go()
    assert any(trial.same_as is not None for trial in found.history.trials)
    assert left(found) == {number: ["adapter.pth"] for number in best(found, 3)}


def test_a_master_that_dies_anywhere_leaves_nothing_over_in_the_end(tmp_path: Path) -> None:
    whole = lora_study(tmp_path / "whole", evaluations=4)
    whole.go()
    for point in range(1, 60):
        found = lora_study(tmp_path / str(point), evaluations=4)
        if found.go(crash_at=point) is not None:
            break
        found.go()
        assert left(found) == left(whole), point
    assert point > 20


def test_a_master_that_died_between_record_and_removal_is_followed_by_one_that_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = lora_study(tmp_path, keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(retention.Retention, "sweep", lambda *_, **__: None)
        assert found.go(once=True) is None
        found.cluster.wait(0)
        assert found.go(once=True) is None
    evaluated = set(found.history.evaluations)
    assert len(evaluated) > 1
    assert set(left(found)) >= evaluated
    found.go(once=True)
    assert {n for n in left(found) if n in evaluated} == set(best(found, 1))


def test_what_an_interrupted_training_goes_on_from_stays(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def interrupted(assignment: Assignment) -> float | Failure:
        assert assignment.checkpoint is not None
        if assignment.trial == 1:
            seen.append([path.name for path in Path(assignment.checkpoint).glob("*")])
        score = trained(assignment)
        return Failure.PREEMPTED if assignment.trial == 1 and assignment.attempt < 3 else score

    found = lora_study(tmp_path, interrupted, keep=0)
    found.go()
    assert [len(names) for names in seen] == [0, 3, 3]
    assert left(found) == {}


def test_what_failed_of_the_setup_keeps_its_training_for_a_resumed_study(tmp_path: Path) -> None:
    mended = False

    def outcome(assignment: Assignment) -> float | Failure:
        return trained(assignment) if mended else (trained(assignment), Failure.DISK_FULL)[1]

    found = lora_study(tmp_path, outcome, keep=0)
    with pytest.raises(StudyStopped):
        found.go()
    assert left(found) == dict.fromkeys(range(3), sorted(PARTS))
    mended = True
    found.go()
    assert left(found) == {}


def test_a_trial_that_failed_for_good_leaves_nothing(tmp_path: Path) -> None:
    def outcome(assignment: Assignment) -> float | Failure:
        score = trained(assignment)
        return Failure.WALLTIME if assignment.trial % 2 else score

    found = lora_study(tmp_path, outcome, keep=50)
    found.go()
    assert set(left(found)) == {0, 2, 4, 6, 8}


def test_what_a_job_that_may_run_on_still_reads_goes_at_the_end(tmp_path: Path) -> None:
    """Attempt 1 of trial 0 is lost to the scheduler and runs on; its score ends the need of attempt 2."""

    class Forgetful(ScriptedCluster):
        def wait(self, seconds: float) -> None:
            if self.running:
                super().wait(seconds)

    def cluster(**options: Any) -> ScriptedCluster:
        return Forgetful(seconds=lambda trial: 5.0 if trial == 0 else 1.0, lost={"0"}, **options)

    found = lora_study(tmp_path, keep=0, cluster=cluster, evaluations=12, slots=2, grace_s=0, poll_s=0.01)
    stayed = 0
    while found.go(once=True) is None:
        if found.history.trials[0].evaluation is not None:
            stayed += set(left(found)) >= {0}
        found.cluster.wait(0)
    assert {attempt.ended for attempt in found.history.trials[0].attempts} & {"lost", "superseded"}
    assert stayed > 1
    assert left(found) == {}


def test_what_a_late_copy_wrote_goes_at_the_end(tmp_path: Path) -> None:
    def late(assignment: Assignment) -> float:
        if assignment.trial == 8:  # a copy of the first job ends with the last one
            trained(assignment.model_copy(update={"checkpoint": str(found.run.checkpoint(0))}))
        return trained(assignment)

    found = lora_study(tmp_path, late, keep=0)
    found.go()
    assert left(found) == {}


def test_a_filesystem_that_refuses_is_told_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, **_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "rmdir", refused)
    found = lora_study(tmp_path, keep=0)
    while (why := found.go(once=True)) is None:
        found.cluster.wait(0)
    assert why == "the budget of 9 evaluations is spent"
    [said] = [line for line in found.said if "cannot be removed" in line]
    assert "checkpoint: Permission denied" in said
    assert len(found.of_kind("noted")) == 1


def test_what_a_command_keeps_is_its_own(tmp_path: Path) -> None:
    found = Study(*study(tmp_path), ScriptedCluster(outcome=trained))
    found.go()
    assert left(found) == dict.fromkeys(range(9), sorted(PARTS))


def test_the_key_is_for_litgpt_alone(tmp_path: Path) -> None:
    head = 'name = "study"\nseed = 1\nkeep_adapters = {}\n'
    assert read_checked_study(write_study(tmp_path, **LITGPT)).keep_adapters == 3
    assert read_checked_study(write_study(tmp_path, **LITGPT, head=head.format(0))).keep_adapters == 0
    with pytest.raises(InputError, match="keep_adapters"):
        read_checked_study(write_study(tmp_path, **LITGPT, head=head.format(-1)))
    with pytest.raises(InputError, match=r"study\.toml:3: keep_adapters: .* leave it out"):
        read_checked_study(write_study(tmp_path, head=head.format(2)))
