"""The master on a real OAR cluster of 2 hosts with 4 GPUs each, run by an ordinary user."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from orchestrator.record.ledger import read
from tests.clusters.oar import ENDED, OarCluster
from tests.executors.attempts import ROOT
from tests.fakes.studies import (
    assert_undisturbed,
    ledger_of,
    orchestrator,
    points_of,
    run_study,
    write_command_study,
    write_synthetic_study,
)

OAR_PROFILE = """
scheduler = "oar"
shared_dir = "{shared}"
hosts = 1
gpus = 4
walltime_min = 5
max_jobs = 2
poll_s = 1
grace_s = 2
[options]
property = "cluster='chuc'"
[environment]
OMP_NUM_THREADS = "1"
"""
EVALUATIONS = 4


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """The same study under `local`: a scheduler must change nothing."""
    shared = tmp_path_factory.mktemp("undisturbed")
    return points_of(run_study(shared, write_synthetic_study(shared, evaluations=EVALUATIONS)).history)


def left(oar: OarCluster) -> list[int]:
    return [job for job, word in oar.jobs().items() if word not in ENDED]


def test_four_trials_share_a_job_and_its_gpus(oar: OarCluster) -> None:
    program = (
        "import json, os, sys; visible = os.environ['CUDA_VISIBLE_DEVICES']; "
        "json.dump({'loss': 0, 'gpu': int(visible), 'job': int(os.environ['OAR_JOB_ID'])}, "
        "open(sys.argv[2], 'w'))"
    )
    profile = OAR_PROFILE.replace("gpus = 4", "gpus = 4\ngpus_per_trial = 1") + f'PYTHONPATH = "{ROOT}"\n'
    run = run_study(oar.shared, write_command_study(oar.shared, program, evaluations=4, profile=profile))
    assert run.code == 0, run.errors
    [submitted] = [r["jobs"] for r in read(run.path / "ledger.jsonl") if r["kind"] == "submitted"]
    found = [t.evaluation.metrics for t in run.history.trials if t.evaluation is not None]
    assert [m["job"].value for m in found] == [int(job) for job in submitted] == [int(submitted[0])] * 4
    assert sorted(m["gpu"].value for m in found) == [0, 1, 2, 3]


@pytest.mark.parametrize("fault", [None, "before-submit:1", "after-submit:1", "after-submitted:1"])
def test_a_study_on_oar_is_the_study_under_local(
    undisturbed: list[tuple[object, ...]], oar: OarCluster, fault: str | None
) -> None:
    study = write_synthetic_study(oar.shared, evaluations=EVALUATIONS, profile=OAR_PROFILE)
    if fault:
        killed = run_study(oar.shared, study, fault=fault)
        assert killed.code == -signal.SIGKILL, killed.errors
    run = run_study(oar.shared, study, resume=fault is not None)
    assert run.code == 0, run.errors
    assert_undisturbed(run.history, undisturbed)
    assert len(list(run.path.glob("trials/*/attempt-*/result.json"))) == EVALUATIONS
    oar.wait("the last job to end", lambda: not left(oar))


def test_a_sweep_runs_side_by_side_each_job_on_a_host_of_its_own(oar: OarCluster) -> None:
    program = (
        "import json, os, sys, time; start = time.time(); time.sleep(8); "
        "node = int(open(os.environ['OAR_NODEFILE']).read().split('.')[0].split('-')[1]); "
        "json.dump({'loss': 1, 'node': node, 'start': start, 'end': time.time()}, open(sys.argv[2], 'w'))"
    )
    study = write_command_study(oar.shared, program, evaluations=2, profile=OAR_PROFILE)
    run = run_study(oar.shared, study)
    assert run.code == 0, run.errors
    found = [t.evaluation.metrics for t in run.history.spent if t.evaluation is not None]
    assert sorted(m["node"].value for m in found) == [1, 2]
    assert max(m["start"].value for m in found) < min(m["end"].value for m in found)


def test_a_job_killed_on_its_host_is_tried_once_more(oar: OarCluster) -> None:
    marker = oar.shared / "killed-once"
    program = (
        "import json, os, pathlib, signal, sys\n"
        f"if not (marker := pathlib.Path({str(marker)!r})).exists():\n"
        "    marker.touch()\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n"
        "json.dump({'loss': json.load(open(sys.argv[1]))['x']}, open(sys.argv[2], 'w'))"
    )
    study = write_command_study(oar.shared, program, evaluations=2, profile=OAR_PROFILE)
    run = run_study(oar.shared, study)
    assert run.code == 0, run.errors
    failed = [r for r in read(run.path / "ledger.jsonl") if r["kind"] == "failed"]
    assert {r["failure"] for r in failed} == {"killed"}
    assert all(t.evaluation is not None and t.evaluation.failure is None for t in run.history.spent)


def test_a_job_without_time_left_says_so(oar: OarCluster) -> None:
    program = "import time; time.sleep(600)"
    profile = OAR_PROFILE.replace("walltime_min = 5", "walltime_min = 0.25")
    run = run_study(oar.shared, write_command_study(oar.shared, program, evaluations=1, profile=profile))
    failures = [t.evaluation.failure for t in run.history.spent if t.evaluation is not None]
    assert list(map(str, failures)) == ["walltime"]


def test_cancel_spares_the_jobs_of_others(oar: OarCluster) -> None:
    logs = ("-O", "/dev/null", "-E", "/dev/null")
    said = oar.run("oarsub", "-d", "/", "-n", "study-of-somebody-else", *logs, "-l", "core=1", "sleep 600")
    theirs = said.rpartition("=")[2].strip()
    study = write_command_study(oar.shared, "import time; time.sleep(60)", profile=OAR_PROFILE)
    profile = str(oar.shared / "profile.toml")
    command = [sys.executable, "-m", "orchestrator", "launch", str(study), "--profile", profile, "--detach"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=oar.shared)
    oar.wait("our jobs", lambda: any(r["kind"] == "submitted" for r in ledger_of(oar.shared)))
    done = orchestrator("cancel", oar.shared / "runs/study", cwd=oar.shared)
    assert done.returncode == 0, done.stderr
    oar.wait("our jobs to end", lambda: left(oar) == [int(theirs)])
