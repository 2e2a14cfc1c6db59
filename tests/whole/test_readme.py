"""What the README names, there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from orchestrator.algorithms import ALGORITHMS
from orchestrator.cli.program import app
from orchestrator.config.profile import BUILT_IN
from orchestrator.contract import Failure

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_link_within_the_project_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_command_it_calls_exists() -> None:
    known = set(typer.main.get_group(app).commands)
    called = set(re.findall(r"orchestrator (init|[a-z]+)\b(?= +(?:RUN|my-study|STUDY))", TEXT))
    assert called
    assert called <= known


def test_every_algorithm_profile_and_failure_class_is_named() -> None:
    names = [*ALGORITHMS, *(path.stem for path in BUILT_IN.glob("*.toml")), *map(str, Failure)]
    assert [name for name in names if f"`{name}`" not in TEXT] == []


def test_every_make_target_it_calls_exists() -> None:
    targets = set(re.findall(r"^([\w.$(){}/]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^ +make (\w+)", TEXT, re.MULTILINE)) <= targets


def test_the_example_runs_as_it_stands() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["batch"] == []
    assert len(names["search"].dump()["told"]) == 24
    lines = [line for line in example.splitlines() if line and not line.startswith("from")]
    assert len(lines) <= 10
