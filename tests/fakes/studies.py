"""Small studies on disk, and running them as a user does: in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.record import History
from orchestrator.record.history import End
from orchestrator.record.ledger import Line, read

PROFILE = """
scheduler = "local"
shared_dir = "{shared}"
gpus = 0
walltime_min = 5
max_jobs = 3
poll_s = 0.2
grace_s = 1
[environment]
OMP_NUM_THREADS = "1"
"""

SLURM_PROFILE = """
scheduler = "slurm"
shared_dir = "{shared}"
hosts = 1
gpus = 4
walltime_min = 5
max_jobs = 4
poll_s = 1
grace_s = 2
[environment]
OMP_NUM_THREADS = "1"
"""


@dataclass(frozen=True)
class Run:
    """What a master did: exit code, what it printed, where, and what its ledger says."""

    code: int
    output: str
    errors: str
    path: Path

    @property
    def history(self) -> History:
        return History.replay(read(self.path / "ledger.jsonl"))


def write_profile(shared: Path, text: str = PROFILE) -> Path:
    path = shared / "profile.toml"
    path.write_text(text.format(shared=shared))
    return path


def write_synthetic_study(
    shared: Path,
    name: str = "study",
    *,
    algorithm: str = "soo",
    evaluations: int = 4,
    seconds: float = 0.0,
    space: str = "",
    profile: str = PROFILE,
) -> Path:
    """A synthetic study beside a profile."""
    write_profile(shared, profile)
    return write_study(
        shared,
        name,
        head=f'name = "{name}"\nseed = 5\n',
        budget=f"[budget]\nevaluations = {evaluations}\n",
        algorithm=f'[algorithm]\nname = "{algorithm}"\n',
        space=f"{space}\n",
        evaluation=f"{STUDY['evaluation']}seconds = {seconds}\n",
    )


def write_command_study(
    shared: Path, program: str, *, evaluations: int = 4, head: str = "", profile: str = PROFILE
) -> Path:
    """A study of a Python program, beside a profile."""
    write_profile(shared, profile)
    (shared / "program.py").write_text(program)
    return write_study(
        shared,
        head=f'name = "study"\nseed = 5\n{head}\n',
        budget=f"[budget]\nevaluations = {evaluations}\n",
        algorithm='[algorithm]\nname = "lhs"\n',
        objective='[objective]\nmetric = "loss"\ndirection = "minimize"\n',
        space='[space]\nx = { type = "float", low = 0.0, high = 1.0 }\n',
        evaluation=f'[evaluation]\nkind = "command"\ncommand = ["{sys.executable}", "program.py"]\n',
    )


def orchestrator(
    *words: str | Path, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does."""
    variables = {**os.environ, "COLUMNS": "120", **(environment or {})}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *map(str, words)],
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def run_study(
    shared: Path,
    study: Path,
    *,
    resume: bool = False,
    fault: str | None = None,
) -> Run:
    """Launch or resume a study and wait for the end of its master."""
    run = shared / "runs" / study.stem
    words = (
        ["resume", str(run)] if resume else ["launch", str(study), "--profile", str(shared / "profile.toml")]
    )
    fault_point = {"ORCHESTRATOR_FAULT": fault} if fault else {}
    done = orchestrator(*words, cwd=shared, environment=fault_point)
    return Run(done.returncode, done.stdout, done.stderr, run)


def assert_undisturbed(history: History, points: list[tuple[object, ...]]) -> None:
    """The same points and scores as an undisturbed run's, each evaluated exactly once."""
    assert points_of(history) == points
    for trial in history.trials:
        assert trial.evaluation is not None
        assert trial.evaluation.failure is None
        assert [a.ended for a in trial.attempts].count(End.EVALUATED) == 1


def points_of(history: History) -> list[tuple[object, ...]]:
    """What must not depend on when a master died: each trial's point, configuration and score."""
    return [
        (
            trial.point,
            tuple(trial.configuration.items()),
            trial.same_as,
            {n: m.value for n, m in e.metrics.items()} if (e := history.evaluation(trial)) else None,
        )
        for trial in history.trials
    ]


def ledger_of(shared: Path, name: str = "study") -> list[Line]:
    """The records so far; none if there is no ledger yet."""
    path = shared / "runs" / name / "ledger.jsonl"
    return list(read(path)) if path.exists() else []


# The sections of a study that is right; a test replaces one.
STUDY = {
    "head": 'name = "study"\nseed = 1\n',
    "budget": "[budget]\nevaluations = 9\n",
    "algorithm": '[algorithm]\nname = "soo"\n',
    "objective": '[objective]\nmetric = "value"\ndirection = "minimize"\n',
    "space": "",
    "evaluation": '[evaluation]\nkind = "synthetic"\nfunction = "branin"\n',
}


# … and what makes of it one of LoRA fine-tuning.
LITGPT = {
    "objective": '[objective]\nmetric = "val_loss"\ndirection = "minimize"\n',
    "space": '[space]\npreset = "davouse2025-code"\n',
    "evaluation": '[evaluation]\nkind = "litgpt"\nmodel = "demo"\ndata = "demo"\nepochs = 1\n',
}


def write_study(directory: Path, name: str = "study", **sections: str) -> Path:
    """A study file of the sections of `STUDY`, some replaced."""
    path = directory / f"{name}.toml"
    path.write_text("".join({**STUDY, **sections}.values()), encoding="utf-8")
    return path


def line_of(path: Path, text: str) -> int:
    """Number of the only line that starts with `text`."""
    [number] = [n for n, line in enumerate(path.read_text().splitlines(), 1) if line.startswith(text)]
    return number
