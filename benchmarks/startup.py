"""Seconds until `--help`, `status` and `queue` have answered, on a run of 500 trials, warm.

    python benchmarks/startup.py [TRIALS]

Each is the median of 7 runs, beside a bare interpreter's start and the import of typer, rich and pydantic
in the same run. The last round of the run is under way, so that `queue` has jobs to ask for. The goal is
less than .5 s, and less than 1 s for `queue` with 300 jobs under way and 700 evaluations done.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator import algorithms
from orchestrator.algorithms import Observation
from orchestrator.config import read_profile
from orchestrator.executors.slurm.states import QUEUE_FORMAT
from orchestrator.master import launch
from orchestrator.preflight import read_checked_study
from orchestrator.record import History, RunDirectory
from orchestrator.record.ledger import Ledger, read

STUDY = """
name = "{name}"
seed = 1
[budget]
evaluations = {trials}
[algorithm]
name = "{algorithm}"
[objective]
metric = "value"
direction = "minimize"
[evaluation]
kind = "synthetic"
function = "hartmann6"
"""
PROFILE = """
scheduler = "{scheduler}"
shared_dir = "{shared}"
gpus = 0
walltime_min = 60
max_jobs = {slots}
"""


def write_run(
    shared: Path, trials: int, algorithm_name: str = "soo", slots: int = 8, scheduler: str = "local"
) -> RunDirectory:
    """A run as a master leaves it, the algorithm's states included; the last batch, of `slots`, under way."""
    study, profile = shared / "study.toml", shared / "profile.toml"
    name = f"long-{algorithm_name}"
    study.write_text(STUDY.format(name=name, trials=trials, algorithm=algorithm_name))
    profile.write_text(PROFILE.format(shared=shared, slots=slots, scheduler=scheduler))
    spec = read_checked_study(study)
    run = launch(spec, *read_profile(str(profile))).run
    run_token = History.replay(read(run.ledger)).created.token
    ledger = Ledger(run.ledger)
    algorithm = algorithms.create(algorithm_name, spec.space, seed=1, budget=trials, capacity=slots)
    rounds = asked = 0
    while batch := algorithm.ask(8 if trials - asked > slots else slots):
        asked += len(batch)
        ledger.append("state", round=rounds, state=algorithm.dump())
        ledger.append("asked", round=rounds, trials=[_asked(spec, suggestion) for suggestion in batch])
        token = f"{run_token}-{rounds:04d}"
        ledger.append("submitting", token=token, attempts=[[s.id, 1] for s in batch])
        ledger.append("submitted", token=token, jobs=[f"{rounds}_{k}" for k in range(len(batch))])
        if batch[-1].id == trials - 1:
            break
        for s in batch:
            evaluation = {"outcome": "ok", "metrics": {"value": {"value": -sum(s.point)}}, "trial": s.id}
            evaluation |= {"attempt": 1, "started_at": 0.0, "ended_at": 60.0, "seconds": {"function": 50.0}}
            ledger.append("evaluated", trial=s.id, attempt=1, evaluation=evaluation)
        algorithm.tell([Observation(s.id, sum(s.point)) for s in batch])
        rounds += 1
    ledger.close()
    return run


def write_squeue(run: RunDirectory) -> dict[str, str]:
    """A stand-in for squeue that lists the run's jobs; return the environment that finds it.

    A real one answers in about 10 ms.
    """
    history = History.replay(read(run.ledger, states=False))
    values = {"%i": "", "%T": "RUNNING", "%M": "0:30", "%N": "n1", "%r": "None", "%j": ""}
    lines = []
    for attempt in (attempt for trial in history.open_trials if (attempt := trial.attempt)):
        now = values | {"%i": str(attempt.job), "%j": attempt.token}
        lines.append("|".join(now.get(code, "") for code in QUEUE_FORMAT.split("|")))
    (run.path / "squeue.txt").write_text("\n".join(lines) + "\n")
    squeue = run.path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text(f"#!/bin/sh\ncat {run.path}/squeue.txt\n")
    squeue.chmod(0o755)
    return {**os.environ, "PATH": f"{squeue.parent}:{os.environ['PATH']}"}


def _asked(spec: Any, suggestion: Any) -> dict[str, Any]:
    return {
        "suggestion": suggestion.id,
        "point": list(suggestion.point),
        "configuration": spec.space.decode(suggestion.point),
        "note": suggestion.note,
        "shares": None,
    }


def seconds(*words: str, environment: Mapping[str, str] | None = None) -> float:
    """Median wall seconds of a command, after one run that warms the caches."""
    taken = []
    for _ in range(8):
        begun = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=environment)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as shared:
        wide = write_run(Path(shared), 1004, "lhs", 300, "slurm")
        path = write_squeue(wide)
        run = write_run(Path(shared), trials)
        print(f"{trials} trials, ledger of {run.ledger.stat().st_size / 1e6:.1f} MB")
        bare = seconds("-c", "pass")
        rows = {
            "python -c pass": bare,
            "import typer, rich, pydantic": seconds("-c", "import typer, rich.console, pydantic"),
            "orchestrator --help": seconds("-m", "orchestrator", "--help"),
            "orchestrator status": seconds("-m", "orchestrator", "status", str(run.path)),
            "orchestrator status --json": seconds("-m", "orchestrator", "status", str(run.path), "--json"),
            "orchestrator queue": seconds("-m", "orchestrator", "queue", str(run.path)),
            "orchestrator queue, 300 jobs": seconds(
                "-m", "orchestrator", "queue", str(wide.path), environment=path
            ),
        }
    for name, taken in rows.items():
        print(f"{name:30} {taken:6.3f} s   {taken / bare:5.1f} × a bare start")


if __name__ == "__main__":
    main()
