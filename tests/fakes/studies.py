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

SYNTHETIC = """
name = "{name}"
seed = 5
[budget]
evaluations = {evaluations}
[algorithm]
name = "{algorithm}"
[objective]
metric = "value"
direction = "minimize"
[evaluation]
kind = "synthetic"
function = "branin"
seconds = {seconds}
{space}
"""

COMMAND = """
name = "study"
seed = 5
{head}
[budget]
evaluations = {evaluations}
[algorithm]
name = "lhs"
[objective]
metric = "loss"
direction = "minimize"
[space]
x = {{ type = "float", low = 0.0, high = 1.0 }}
[evaluation]
kind = "command"
command = ["{python}", "program.py"]
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


def write_study(
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
    path = shared / f"{name}.toml"
    path.write_text(
        SYNTHETIC.format(
            name=name, algorithm=algorithm, evaluations=evaluations, seconds=seconds, space=space
        )
    )
    return path


def write_command_study(
    shared: Path, program: str, *, evaluations: int = 4, head: str = "", profile: str = PROFILE
) -> Path:
    """A study of a Python program, beside a profile."""
    write_profile(shared, profile)
    (shared / "program.py").write_text(program)
    path = shared / "study.toml"
    path.write_text(COMMAND.format(evaluations=evaluations, head=head, python=sys.executable))
    return path


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
