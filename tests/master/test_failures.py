"""What failed of the set-up is held back, tried again, and never told as a configuration's fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.contract import Assignment, Failure
from orchestrator.errors import StudyStopped
from tests.fakes.scripted import Following, ScriptedCluster, Study, replayed, study, value
from tests.fakes.studies import Run, orchestrator, run_study, write_command_study


def failing(*trials: int, why: Failure) -> Callable[[Assignment], float | Failure]:
    return lambda assignment: why if assignment.trial in trials else value(assignment)


def in_turn(trial: int) -> float:
    """Durations by which trials end in their order, whenever they start."""
    return 10.0 + trial


def course(found: Study) -> str:
    """The course of a study: A for an ask, + and - for evaluations."""
    letters = {"asked": "A", "evaluated": "+", "failed": "-"}
    kinds = [
        "failed" if record.get("evaluation", {}).get("failure") else record["kind"]
        for record in found.records
    ]
    return "".join(letters.get(kind, "") for kind in kinds)


def test_nothing_is_told_or_asked_until_something_has_worked(tmp_path: Path) -> None:
    cluster = ScriptedCluster(seconds=in_turn, outcome=failing(0, 1, why=Failure.PROGRAM_ERROR))
    found = Study(*study(tmp_path, evaluations=6), cluster, Following)
    found.go()
    assert course(found) == "A--+A+++"
    assert replayed(found) == [trial.point for trial in found.history.trials]


def test_what_shares_a_score_at_the_start_does_not_make_room_for_a_second_ask(tmp_path: Path) -> None:
    class Twice(Following):
        def _plan(self) -> None:
            self._append((len(self._points) // 2 * 0.05, 0.5))

    cluster = ScriptedCluster(seconds=in_turn, outcome=failing(0, why=Failure.PROGRAM_ERROR))
    found = Study(*study(tmp_path, "random", evaluations=4), cluster, Twice)
    found.go()
    assert [trial.same_as for trial in found.history.trials[:3]] == [None, 0, None]
    assert course(found).startswith("A-+A")


def test_divergence_counts_as_having_worked(tmp_path: Path) -> None:
    cluster = ScriptedCluster(seconds=in_turn, outcome=failing(0, 1, 2, 3, why=Failure.DIVERGED))
    found = Study(*study(tmp_path, evaluations=4), cluster)
    found.go()
    assert course(found) == "A-A---"


def test_a_study_whose_first_trials_all_fail_stops_and_tries_them_again(tmp_path: Path) -> None:
    cluster = ScriptedCluster(seconds=in_turn, outcome=failing(0, 1, 2, why=Failure.PROGRAM_ERROR))
    found = Study(*study(tmp_path, evaluations=6), cluster, Following)
    with pytest.raises(StudyStopped, match=r"the first 3 trials failed \(program_error\)"):
        found.go()
    cluster.outcome = value
    assert found.go() == "the budget of 6 evaluations is spent"
    assert found.of_kind("reopened")[0]["trials"] == [0, 1, 2]
    assert [len(trial.attempts) for trial in found.history.trials] == [2, 2, 2, 1, 1, 1]
    assert all(score is not None for score in told_to(found).values())


def told_to(found: Study) -> dict[int, float | None]:
    """What the algorithm had been told by the last ask."""
    algorithm = found.algorithm()
    assert isinstance(algorithm, Following)
    assert found.history.state is not None
    algorithm.load(found.history.state)
    return algorithm.told


def test_a_fault_of_the_set_up_on_the_way_stops_the_study_before_any_of_it_is_told(tmp_path: Path) -> None:
    cluster = ScriptedCluster(seconds=in_turn, outcome=failing(*range(4, 20), why=Failure.DISK_FULL))
    found = Study(*study(tmp_path, evaluations=12), cluster, Following)
    with pytest.raises(StudyStopped, match=r"the last 3 trials failed \(disk_full\)"):
        found.go()
    # 4 fails when 5 and 6 run: nothing follows them.
    assert course(found) == "A+A+A+A+A---"
    cluster.outcome = value
    assert found.go() == "the budget of 12 evaluations is spent"
    assert found.of_kind("reopened")[0]["trials"] == [4, 5, 6]
    assert all(score is not None for score in told_to(found).values())
    assert all(t.evaluation is not None and t.evaluation.failure is None for t in found.history.trials)


def test_a_success_after_it_shows_that_the_set_up_works(tmp_path: Path) -> None:
    cluster = ScriptedCluster(seconds=in_turn, outcome=failing(4, 5, why=Failure.MISSING_INPUT))
    found = Study(*study(tmp_path, evaluations=10), cluster, Following)
    assert found.go() == "the budget of 10 evaluations is spent"
    assert course(found) == "A+A+A+A+A--+A+++"
    assert {i for i, score in told_to(found).items() if score is None} == {4, 5}


def test_fewer_failures_than_ran_side_by_side_are_told_when_nothing_runs(tmp_path: Path) -> None:
    cluster = ScriptedCluster(seconds=in_turn, outcome=failing(4, 5, why=Failure.DISK_FULL))
    found = Study(*study(tmp_path, evaluations=6), cluster, Following)
    assert found.go() == "the budget of 6 evaluations is spent"
    assert course(found) == "A+A+A+A+--"


@pytest.mark.parametrize("failure", [Failure.OUT_OF_MEMORY, Failure.WALLTIME, Failure.PROGRAM_ERROR])
def test_a_configurations_own_failures_never_stop_a_study_that_has_worked(
    tmp_path: Path, failure: Failure
) -> None:
    cluster = ScriptedCluster(seconds=in_turn, outcome=failing(*range(1, 9), why=failure))
    found = Study(*study(tmp_path), cluster)
    assert found.go() == "the budget of 9 evaluations is spent"


def accepting(directory: Path, algorithm: str, bad: str) -> tuple[Run, str]:
    """A study of a program that fails where `bad` holds; what it said when it stopped."""
    program = f"""
import json, sys
x = json.load(open(sys.argv[1]))["x"]
if {bad}:
    sys.exit("this configuration cannot be")
json.dump({{"loss": x}}, open(sys.argv[2], "w"))
"""
    file = write_command_study(directory, program, evaluations=4)
    file.write_text(file.read_text().replace('name = "lhs"', f'name = "{algorithm}"'))
    run = run_study(directory, file)
    assert run.code == 1
    return run, run.errors


def test_failures_that_a_person_accepts_are_told_and_others_are_tried(tmp_path: Path) -> None:
    """SOO has one trial in its first round, the centre, which fails for its own reasons however often."""
    run, said = accepting(tmp_path, "soo", "x == 0.5")
    assert f"orchestrator resume {run.path} --accept-failures" in said
    again = orchestrator("resume", run.path, cwd=tmp_path)
    assert again.returncode == 1, "it is tried again, and fails again"
    done = orchestrator("resume", run.path, "--accept-failures", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "trials 0 count as failures" in done.stdout
    failures = [trial.evaluation.failure for trial in run.history.spent if trial.evaluation is not None]
    assert failures == [Failure.PROGRAM_ERROR, None, None, None]
    assert [len(trial.attempts) for trial in run.history.spent] == [2, 1, 1, 1]


def test_there_is_nothing_to_accept_where_nothing_is_held_back(tmp_path: Path) -> None:
    run = run_study(tmp_path, write_command_study(tmp_path, PROGRAM))
    refused = orchestrator("resume", run.path, "--accept-failures", cwd=tmp_path)
    assert (refused.returncode, "no failure is held back" in refused.stderr) == (2, True)


PROGRAM = """
import json, sys
json.dump({"loss": json.load(open(sys.argv[1]))["x"]}, open(sys.argv[2], "w"))
"""
