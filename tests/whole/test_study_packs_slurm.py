"""Packs on a real SLURM cluster of 4 hosts with 4 GPUs each."""

from __future__ import annotations

from pathlib import Path

from orchestrator.record.ledger import read
from tests.clusters.slurm import SlurmCluster
from tests.fakes.studies import SLURM_PROFILE, run_study, write_command_study

PROFILE = SLURM_PROFILE.replace("gpus = 4", "gpus = 4\ngpus_per_trial = 1").replace(
    "max_jobs = 4", "max_jobs = 2"
)


def test_of_two_jobs_of_four_trials_each_one_trial_is_killed_and_all_others_score(
    tmp_path: Path, slurm: SlurmCluster
) -> None:
    marker = tmp_path / "killed-once"
    program = (
        "import json, os, pathlib, signal, sys, time\n"
        "start, x = time.time(), json.load(open(sys.argv[1]))['x']\n"
        "try:\n"
        f"    pathlib.Path({str(marker)!r}).touch(exist_ok=False)\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n"
        "except FileExistsError:\n"
        "    time.sleep(3)\n"
        "gpu, node = int(os.environ['CUDA_VISIBLE_DEVICES']), int(os.environ['SLURMD_NODENAME'][1:])\n"
        "found = {'loss': x, 'gpu': gpu, 'node': node, 'start': start, 'end': time.time()}\n"
        "json.dump(found, open(sys.argv[2], 'w'))"
    )
    run = run_study(tmp_path, write_command_study(tmp_path, program, evaluations=8, profile=PROFILE))
    assert run.code == 0, run.errors
    records = list(read(run.path / "ledger.jsonl"))
    submitted = [record["jobs"] for record in records if record["kind"] == "submitted"]
    array = submitted[0][0].partition("_")[0]
    assert submitted[0] == [f"{array}_0"] * 4 + [f"{array}_1"] * 4
    assert [len(jobs) for jobs in submitted] == [8, 1]
    [failed] = [record for record in records if record["kind"] == "failed"]
    assert failed["failure"] == "killed"
    assert "was killed by signal 9" in failed["message"]
    trials = run.history.trials
    assert all(t.evaluation is not None and t.evaluation.failure is None for t in trials)
    found = {t.number: t.evaluation.metrics for t in trials if t.evaluation is not None}
    assert all(m["loss"].value == trials[n].configuration["x"] for n, m in found.items())
    first = [m for n, m in found.items() if len(trials[n].attempts) == 1]
    assert len({(m["node"].value, m["gpu"].value) for m in first}) == 7  # no two on one GPU
    assert {m["gpu"].value for m in first} == {0, 1, 2, 3}
    assert len({m["node"].value for m in first}) == 2
    assert max(m["start"].value for m in first) < min(m["end"].value for m in first)
    slurm.wait("the queue to be empty", lambda: not slurm.run("squeue", "--noheader").strip())
