"""A study of 1,000 evaluations on a site that lets a user have 300 jobs, and the same jobs without a master.

    python -m benchmarks.site_limit [--jobs 1000] [--limit 300]

On a real SLURM cluster with slurmdbd that it brings up itself (root; see CONTRIBUTING.md), whose 4 hosts run
32 jobs at once. First the jobs alone: one array of that many without a limit, from sbatch to the end of the
last. Then the study, under a QOS with MaxSubmitJobsPerUser. It prints both times and their ratio, how often
the master asked the scheduler and was refused, and how long `queue` took meanwhile.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from orchestrator.config import read_profile
from orchestrator.config.profile import resources
from orchestrator.contract import Assignment, publish
from orchestrator.executors import create
from orchestrator.record import History
from orchestrator.record.ledger import read
from tests.clusters.slurm import SlurmCluster, why_not
from tests.fakes.studies import write_synthetic_study

POLL_S = 10.0
PROFILE = """
scheduler = "slurm"
shared_dir = "{{shared}}"
gpus = 0
walltime_min = 5
max_jobs = {jobs}
poll_s = {poll_s}
grace_s = 3
[environment]
OMP_NUM_THREADS = "1"
PYTHONPATH = "{root}"
[options]
qos = "{qos}"
mem = "200M"
"""
ROOT = Path(__file__).resolve().parents[1]
# A squeue that counts how often the master calls it.
COUNTING = '#!/bin/bash\necho $PPID >>{log}\nexec {real} "$@"\n'


def alone(cluster: SlurmCluster, shared: Path, jobs: int) -> float:
    """Seconds from one sbatch of so many jobs to the end of the last."""
    write_synthetic_study(shared, profile=PROFILE.format(jobs=jobs, root=ROOT, qos="normal", poll_s=POLL_S))
    profile, _ = read_profile(str(shared / "profile.toml"))
    evaluation = {"kind": "synthetic", "function": "branin", "noise": 0.0, "seconds": 0.0}
    attempts = []
    for number in range(jobs):
        attempts.append(directory := shared / f"trials/{number}")
        directory.mkdir(parents=True)
        assignment = Assignment(
            study="alone",
            trial=number,
            attempt=1,
            configuration={"x1": 0.0, "x2": 0.0},
            seed=number,
            evaluation=evaluation,
            metrics=("value",),
            cache=str(shared),
            walltime_min=5,
        )
        publish(directory / "trial.json", assignment.model_dump_json())
    folder = shared / "jobs"
    folder.mkdir()
    start = time.monotonic()
    create("slurm", resources(profile)).submit(attempts, "alone", folder)
    while cluster.run("squeue", "--noheader").strip():
        time.sleep(0.5)
    assert all((attempt / "result.json").exists() for attempt in attempts)
    return time.monotonic() - start


def studied(shared: Path, jobs: int) -> float:
    """Seconds from the study's first submission to its last evaluation; says how it went."""
    counted, wrapper = shared / "squeue.calls", shared / "bin/squeue"
    wrapper.parent.mkdir()
    wrapper.write_text(COUNTING.format(log=counted, real=shutil.which("squeue")))
    wrapper.chmod(0o755)
    profile = PROFILE.format(jobs=jobs, root=ROOT, qos="capped", poll_s=POLL_S)
    study = write_synthetic_study(shared, algorithm="lhs", evaluations=jobs, profile=profile)
    run = shared / "runs/study"
    program = [sys.executable, "-m", "orchestrator"]
    words = ["launch", str(study), "--profile", str(shared / "profile.toml")]
    environment = {**os.environ, "PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
    start = time.monotonic()
    answers = []
    with (shared / "master.out").open("wb") as log:
        master = subprocess.Popen(
            [*program, *words], cwd=shared, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        while master.poll() is None:
            time.sleep(10)
            asked = time.monotonic()
            subprocess.run([*program, "queue", str(run)], check=True, stdout=subprocess.DEVNULL)
            answers.append(time.monotonic() - asked)
    lasted = time.monotonic() - start
    records = list(read(run / "ledger.jsonl"))
    history = History.replay(records)
    attempts = [attempt for trial in history.trials for attempt in trial.attempts]
    refused = sum(record["kind"] == "refused" for record in records)
    calls = sum(line.strip() == str(master.pid) for line in counted.read_text().splitlines())
    print(f"evaluated {len(history.evaluations)} in {len(attempts)} attempts")
    print(f"{history.submission_count} submissions, of which {refused} refused")
    print(f"{calls} squeue calls in {lasted:.0f} s; one in {POLL_S:g} s is asked for")
    print(f"queue answers in {statistics.median(answers):.2f} s (most {max(answers):.2f} s)")
    first = min(attempt.submitted_at for attempt in attempts)
    return max(trial.evaluated_at or 0.0 for trial in history.trials) - first


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--limit", type=int, default=300)
    given = parser.parse_args()
    if reason := why_not(accounting=True):
        raise SystemExit(f"no SLURM cluster: {reason}")
    settings = {"AccountingStorageEnforce": "associations,limits,qos", "MaxArraySize": "2001"}
    directory = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    cluster = SlurmCluster(directory, accounting=True, settings=settings)
    with tempfile.TemporaryDirectory(prefix="site-") as made, pytest.MonkeyPatch.context() as patch:
        try:
            cluster.up()
            for name, value in cluster.environment.items():
                patch.setenv(name, value)
            for words in (
                "add account study",
                f"add qos capped MaxSubmitJobsPerUser={given.limit}",
                "add user root account=study",
                "modify user root set qos=normal,capped",
            ):
                cluster.run("sacctmgr", "-i", *words.split())
            (bare := Path(made) / "alone").mkdir()
            (full := Path(made) / "study").mkdir()
            alone_s = alone(cluster, bare, given.jobs)
            print(f"{given.jobs} jobs alone, no limit: {alone_s:.1f} s", flush=True)
            study_s = studied(full, given.jobs)
            print(f"study, at most {given.limit} jobs: {study_s:.1f} s, {study_s / alone_s:.2f} times that")
        finally:
            cluster.down(purge=True)


if __name__ == "__main__":
    main()
