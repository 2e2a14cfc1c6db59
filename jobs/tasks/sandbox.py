"""Runs programs that a model wrote, each in a process of its own, in the sandbox of `sandbox_child`."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile

from jobs.attempt.failure import EvaluationFailed, one_line
from jobs.tasks import sandbox_child
from orchestrator.contract import Failure

SECONDS = 3  # of processor time. HumanEval's harness allows as many of elapsed time, too few on a busy host
_PATIENCE = 10  # elapsed seconds for each of these: a program may also wait


def passes(program: str, seconds: int = SECONDS) -> bool:
    """True if `program` (Python) runs to its end, within `seconds` of processor time.

    Raises:
        EvaluationFailed: this host cannot make the sandbox.
    """
    word = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="orchestrator-sandbox-") as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-B", sandbox_child.__file__, folder, str(seconds)],
                input=json.dumps({"program": program, "word": word}).encode(),
                env={"PATH": "/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "OMP_NUM_THREADS": "1"},
                cwd="/",
                capture_output=True,
                timeout=_PATIENCE * seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    if done.returncode == sandbox_child.NO_WALLS:
        raise EvaluationFailed(
            Failure.MISSING_INPUT,
            "programs that a model writes cannot be walled in on this host "
            f"({one_line(done.stderr.decode(errors='replace'))}): leave out the tasks with execute_code, "
            "or use hosts with Linux 5.13 or newer and user namespaces",
        )
    return done.stdout.decode(errors="replace") == word


def require() -> None:
    """Check that the sandbox works on this host.

    Raises:
        EvaluationFailed: it does not.
    """
    if not passes(""):
        raise EvaluationFailed(Failure.HOST_FAULT, "the sandbox fails a program that does nothing")
