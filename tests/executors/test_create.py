"""Executors by name, what they share, and what they must not cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.executors import create, payload
from tests.executors.attempts import ROOT, resources


@pytest.mark.parametrize("scheduler", ["local", "slurm", "oar"])
def test_create_knows(scheduler: str) -> None:
    assert type(create(scheduler, resources())).__module__ == f"orchestrator.executors.{scheduler}.executor"


def test_create_names_the_known_ones() -> None:
    with pytest.raises(
        InputError, match="scheduler 'slurn' is not driven by this version; it drives local, slurm, oar"
    ):
        create("slurn", resources())


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import orchestrator.executors", ("submitit", "torch", "jobs")),
        (
            "import orchestrator.executors.slurm.executor, orchestrator.executors.local.executor",
            ("torch", "litgpt", "jobs"),
        ),
        ("import orchestrator.executors.oar.executor", ("torch", "litgpt", "jobs")),
    ],
)
def test_imports_stay_light(program: str, absent: tuple[str, ...]) -> None:
    argv = [sys.executable, "-c", f"import sys\n{program}\nprint(*sys.modules)"]
    modules = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not set(absent) & set(modules)


@pytest.mark.parametrize("token", ["", "a b", "a/b", "ä", "a" * 129, "a\n"])
def test_tokens_a_scheduler_would_mangle_are_refused(token: str) -> None:
    with pytest.raises(InputError, match="token"):
        payload.check(token, Path("/runs"))


@pytest.mark.parametrize("folder", ["/runs/100%", "/runs/a\\b", "/runs/a\nb", "runs"])
def test_folders_a_scheduler_would_mangle_are_refused(folder: str) -> None:
    with pytest.raises(InputError):
        payload.check("a.B-c_1", Path(folder))


def test_variables_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="A B"):
        payload.export_lines({"A B": "1"})
