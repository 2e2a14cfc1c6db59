"""The master on synthetic evaluations: budgets, sharing, failures, and death at every step."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.cli import INTERRUPTED
from orchestrator.record import History, RunDirectory
from orchestrator.record.facts import Why
from orchestrator.record.ledger import read
from tests.fakes.studies import (
    assert_undisturbed,
    ledger_of,
    points_of,
    run_study,
    write_command_study,
    write_synthetic_study,
)

ORCHESTRATOR = [sys.executable, "-m", "orchestrator"]
# Every record the master writes and every submission, before and after; and what it does between them.
STEPS = {
    "state": 2,
    "asked": 2,
    "submitting": 2,
    "submit": 2,
    "submitted": 2,
    "evaluated": 3,
    "tell": 2,
    "ended": 1,
}
FAULTS = [f"{side}-{step}:{k}" for step, k in STEPS.items() for side in ("before", "after")]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A shared directory whose jobs are all gone after the test."""
    yield tmp_path
    for process in jobs_in(tmp_path):
        process.kill()
        pytest.fail(f"left running: {process}")


def jobs_in(directory: Path) -> list[psutil.Process]:
    """Processes at work below it; a master may still be on its way out when it has let go of the run."""
    lines = [(p, p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    return [p for p, words in lines if str(directory) in " ".join(words) and "orchestrator" not in words]


def test_a_study_spends_its_exact_budget_and_equal_seeds_give_equal_studies(shared: Path) -> None:
    first = run_study(shared, write_synthetic_study(shared, "first", algorithm="bamsoo", evaluations=7))
    second = run_study(shared, write_synthetic_study(shared, "second", algorithm="bamsoo", evaluations=7))
    assert first.code == second.code == 0
    assert len(first.history.spent) == 7
    assert all(t.evaluation is not None for t in first.history.spent)
    assert points_of(first.history) == points_of(second.history)
    assert first.history.ended is not None
    assert first.history.ended.message == "the budget of 7 evaluations is spent"


def test_a_configuration_is_evaluated_once_and_its_score_shared(shared: Path) -> None:
    space = '[space]\nx0 = { type = "int", low = 0, high = 2 }\nx1 = { type = "int", low = 0, high = 1 }'
    run = run_study(shared, write_synthetic_study(shared, algorithm="random", evaluations=50, space=space))
    assert run.code == 0, run.errors
    own = [json.dumps(t.configuration) for t in run.history.trials if t.same_as is None]
    assert len(own) == len(set(own)) == 6
    assert any(t.same_as is not None for t in run.history.trials)
    assert "all 6 configurations" in run.output


def test_the_base_model_is_trial_0_and_no_part_of_the_budget(shared: Path) -> None:
    study = write_command_study(
        shared,
        "import json, sys; c = json.load(open(sys.argv[1])); "
        "json.dump({'loss': c.get('x', 9.0)}, open(sys.argv[2], 'w'))",
        head="include_base = true",
    )
    run = run_study(shared, study)
    base = run.history.trials[0]
    assert (base.configuration, base.suggestion) == ({}, None)
    assert base.evaluation is not None
    assert base.evaluation.metrics["loss"].value == 9.0
    assert len(run.history.spent) == 4


def test_a_failure_is_never_a_score_and_the_study_goes_on(shared: Path) -> None:
    study = write_command_study(
        shared,
        "import json, sys; x = json.load(open(sys.argv[1]))['x']; "
        "json.dump({'loss': float('nan') if x > 0.4 else x}, open(sys.argv[2], 'w'))",
        evaluations=8,
    )
    run = run_study(shared, study)
    assert run.code == 0
    failed = [t for t in run.history.spent if t.evaluation is not None and t.evaluation.failure is not None]
    assert 0 < len(failed) < 8
    assert {t.evaluation.failure for t in failed if t.evaluation} == {"diverged"}
    for record in (run.path / "ledger.jsonl").read_text().splitlines():
        json.loads(record, parse_constant=pytest.fail)  # no NaN, no Infinity


def test_first_trials_that_all_fail_stop_the_study_and_resume_tries_them_again(shared: Path) -> None:
    switch = shared / "mended"
    study = write_command_study(
        shared,
        "import json, pathlib, sys\n"
        f"pathlib.Path({str(switch)!r}).exists() or sys.exit('no licence server')\n"
        "json.dump({'loss': json.load(open(sys.argv[1]))['x']}, open(sys.argv[2], 'w'))",
    )
    run = run_study(shared, study)
    assert run.code == 1
    [line] = run.errors.strip().splitlines()
    for words in ("the first 3 trials failed (program_error)", "no licence server", "log.out", "resume"):
        assert words in line
    switch.touch()
    again = run_study(shared, study, resume=True)
    assert again.code == 0, again.errors
    assert len(again.history.spent) == 4
    assert all(t.evaluation is not None and t.evaluation.failure is None for t in again.history.spent)


def test_a_killed_job_is_tried_once_more(shared: Path) -> None:
    marker = shared / "killed-once"
    study = write_command_study(
        shared,
        "import json, os, pathlib, signal, sys\n"
        f"marker = pathlib.Path({str(marker)!r})\n"
        "try:\n    marker.touch(exist_ok=False)\nexcept FileExistsError:\n    pass\n"
        "else:\n    os.kill(os.getppid(), signal.SIGKILL)\n"
        "json.dump({'loss': json.load(open(sys.argv[1]))['x']}, open(sys.argv[2], 'w'))",
    )
    run = run_study(shared, study)
    assert run.code == 0, run.errors
    assert sorted(len(t.attempts) for t in run.history.spent) == [1, 1, 1, 2]
    [failed] = [r for r in read(run.path / "ledger.jsonl") if r["kind"] == "failed"]
    assert failed["failure"] == "killed"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    shared = tmp_path_factory.mktemp("undisturbed")
    return points_of(run_study(shared, write_synthetic_study(shared, evaluations=5)).history)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_master_killed_at_any_step_loses_nothing_and_repeats_nothing(
    shared: Path, fault: str, undisturbed: list[tuple[object, ...]]
) -> None:
    study = write_synthetic_study(shared, evaluations=5)
    killed = run_study(shared, study, fault=fault)
    assert killed.code == -signal.SIGKILL, killed.errors
    run = run_study(shared, study, resume=True)
    assert run.code == 0, run.errors
    assert_undisturbed(run.history, undisturbed)


# An ask that refills a slot while others run; SOO's fourth round has four trials, and there are three slots.
# Every other point is passed in memory: `tests/master/test_deaths.py`.
@pytest.mark.parametrize(("algorithm", "fault"), [("soo", "before-submit:5"), ("lhs", "after-tell:2")])
def test_a_master_killed_as_it_refills_a_slot_loses_nothing_and_repeats_nothing(
    tmp_path_factory: pytest.TempPathFactory, algorithm: str, fault: str
) -> None:
    plain, disturbed = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("disturbed")
    evaluations = 9 if algorithm == "soo" else 6
    alone = run_study(plain, write_synthetic_study(plain, algorithm=algorithm, evaluations=evaluations))
    study = write_synthetic_study(disturbed, algorithm=algorithm, evaluations=evaluations)
    assert run_study(disturbed, study, fault=fault).code == -signal.SIGKILL
    run = run_study(disturbed, study, resume=True)
    assert run.code == 0, run.errors
    assert_undisturbed(run.history, points_of(alone.history))


def test_a_master_killed_at_random_instants_loses_nothing_and_repeats_nothing(
    shared: Path, undisturbed: list[tuple[object, ...]]
) -> None:
    study = write_synthetic_study(shared, evaluations=5)
    instants, run = random.Random(4), RunDirectory(shared / "runs/study")
    command = [*ORCHESTRATOR, "launch", str(study), "--profile", str(shared / "profile.toml")]
    for _ in range(20):
        master = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while master.poll() is None and ((holder := run.master()) is None or holder.pid != master.pid):
            time.sleep(0.01)  # what comes before it has the run is none of our business
        time.sleep(instants.uniform(0.0, 0.7))
        master.kill()
        master.wait()
        command = [*ORCHESTRATOR, "resume", str(run.path)]
    resumed = run_study(shared, study, resume=True)
    assert resumed.code == 0, resumed.errors
    assert_undisturbed(resumed.history, undisturbed)


def test_ctrl_c_leaves_the_jobs_and_says_how_to_go_on(shared: Path) -> None:
    study = write_synthetic_study(shared, evaluations=2, seconds=8)
    command = [*ORCHESTRATOR, "launch", str(study), "--profile", str(shared / "profile.toml")]
    master = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not any(r["kind"] == "submitted" for r in ledger_of(shared)):
        time.sleep(0.05)
    os.kill(master.pid, signal.SIGINT)
    _, errors = master.communicate(timeout=30)
    assert master.returncode == INTERRUPTED
    assert "orchestrator resume" in errors
    assert "Traceback" not in errors
    assert jobs_in(shared)
    run = run_study(shared, study, resume=True)
    assert run.code == 0
    assert all(len(t.attempts) == 1 for t in run.history.spent)


def test_cancel_ends_the_jobs_and_the_master_and_resume_goes_on(shared: Path) -> None:
    study = write_synthetic_study(shared, algorithm="lhs", evaluations=3, seconds=8)
    launch = ["launch", str(study), "--profile", str(shared / "profile.toml"), "--detach"]
    subprocess.run([*ORCHESTRATOR, *launch], check=True, stdout=subprocess.DEVNULL)
    while not any(record["kind"] == "submitted" for record in ledger_of(shared)):
        time.sleep(0.05)
    run = str(shared / "runs/study")
    subprocess.run([*ORCHESTRATOR, "cancel", run], check=True, stdout=subprocess.DEVNULL)
    assert not jobs_in(shared)
    history = History.replay(read(shared / "runs/study/ledger.jsonl"))
    assert history.ended is not None
    assert history.ended.why is Why.CANCELLED
    assert not any(trial.evaluation for trial in history.trials)
    resumed = run_study(shared, study, resume=True)
    assert resumed.code == 0, resumed.errors
    assert [[a.ended for a in t.attempts] for t in resumed.history.spent] == [["cancelled", "evaluated"]] * 3
