"""Seconds until `--help`, `status` and `queue` have answered, on a run of 500 trials, warm.

    python benchmarks/startup.py [TRIALS]

Each is the median of 7 runs, beside a bare interpreter's start and the import of typer, rich and pydantic
in the same run. The last round of the run is under way, so that `queue` has jobs to ask for. The goal is
less than .5 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrator import algorithms
from orchestrator.check import read_checked_study
from orchestrator.launch import create_run
from orchestrator.ledger import Ledger
from orchestrator.profile import read_profile
from orchestrator.run import RunDirectory
from orchestrator.trial import Observation

STUDY = """
name = "long"
seed = 1
[budget]
evaluations = {trials}
[algorithm]
name = "soo"
[objective]
metric = "value"
direction = "minimize"
[evaluation]
kind = "synthetic"
function = "hartmann6"
"""
PROFILE = """
scheduler = "local"
shared_dir = "{shared}"
gpus = 0
walltime_min = 60
max_jobs = 8
"""


def write_run(shared: Path, trials: int) -> RunDirectory:
    """A run as a master leaves it, the algorithm's states included."""
    study, profile = shared / "study.toml", shared / "profile.toml"
    study.write_text(STUDY.format(trials=trials))
    profile.write_text(PROFILE.format(shared=shared))
    spec = read_checked_study(study)
    run = create_run(spec, *read_profile(str(profile)))
    ledger = Ledger(run.ledger)
    algorithm = algorithms.create("soo", spec.space, seed=1, budget=trials, capacity=8)
    rounds = 0
    while batch := algorithm.ask(8):
        ledger.append("state", round=rounds, state=algorithm.dump())
        ledger.append("asked", round=rounds, trials=[_asked(spec, suggestion) for suggestion in batch])
        token = f"long-{rounds}"
        ledger.append("submitting", token=token, attempts=[[s.id, 1] for s in batch])
        ledger.append("submitted", token=token, jobs=[f"{rounds}_{k}" for k in range(len(batch))])
        if batch[-1].id == trials - 1:
            break
        for s in batch:
            evaluation = {"outcome": "ok", "metrics": {"value": {"value": -sum(s.point)}}, "trial": s.id}
            ledger.append("evaluated", trial=s.id, attempt=1, evaluation=evaluation | {"attempt": 1})
        algorithm.tell([Observation(s.id, sum(s.point)) for s in batch])
        rounds += 1
    ledger.close()
    return run


def _asked(spec: Any, suggestion: Any) -> dict[str, Any]:
    return {
        "suggestion": suggestion.id,
        "point": list(suggestion.point),
        "configuration": spec.space.decode(suggestion.point),
        "note": suggestion.note,
        "shares": None,
    }


def seconds(*words: str) -> float:
    """Median wall seconds of a command, after one run that warms the caches."""
    taken = []
    for _ in range(8):
        begun = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as shared:
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
        }
    for name, taken in rows.items():
        print(f"{name:30} {taken:6.3f} s   {taken / bare:5.1f} × a bare start")


if __name__ == "__main__":
    main()
