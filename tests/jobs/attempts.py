"""Attempts at trials: their directories, and running them as a compute node does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobs.prepare.demo import Demo
from orchestrator.contract import Assignment, LitGPTEvaluation, Result

ROOT = Path(__file__).parents[2]


def litgpt(base: Demo, **changes: Any) -> LitGPTEvaluation:
    section: dict[str, Any] = {
        "kind": "litgpt",
        "model": str(base.model),
        "data": str(base.train),
        "val_data": str(base.val),
        "val_documents": 24,
        "steps": 4,
        "batch_size": 8,
        "micro_batch_size": 4,
        "max_length": 128,
        "precision": "fp32",
        "tasks": [{"name": "kinds", "file": str(base.task), "limit": 20}],
    }
    return LitGPTEvaluation.model_validate({**section, **changes})


def command(*argv: str) -> dict[str, Any]:
    return {"kind": "command", "command": list(argv)}


def shell(script: str) -> dict[str, Any]:
    """$1 is the configuration's path, $2 the output's."""
    return command("sh", "-c", script, "program")


def attempt(directory: Path, evaluation: dict[str, Any], **changes: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    fields: dict[str, Any] = {
        "study": "tests",
        "trial": 7,
        "attempt": 2,
        "configuration": {"x0": 0.5, "x1": 0.5},
        "seed": 11,
        "evaluation": evaluation,
        "metrics": [],
        "cache": str(directory),
    }
    (directory / "trial.json").write_text(Assignment(**{**fields, **changes}).model_dump_json())
    return directory


def environment(**variables: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "OAR_", "SUBMITIT"))
    }
    return {**kept, "OMP_NUM_THREADS": "1", **variables}


def start(directory: Path, module: str = "jobs.evaluate", **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, str(directory)],
        cwd=ROOT,
        env=environment(**variables),
        stderr=subprocess.PIPE,
        text=True,
    )


def run(directory: Path, **variables: str) -> tuple[int, str]:
    """Exit status and what the scheduler's own stderr file would hold."""
    process = start(directory, **variables)
    _, stderr = process.communicate(timeout=120)
    return process.returncode, stderr


def result(directory: Path) -> Result:
    return Result.model_validate_json((directory / "result.json").read_bytes())


def log(directory: Path) -> str:
    return (directory / "log.out").read_text()
