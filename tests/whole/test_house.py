"""What the pages say of the house is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for package in ("orchestrator", "jobs") for path in (ROOT / package).rglob("*.py"))


def test_every_file_and_name_of_the_walks_is_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`([\w/]+\.py)`", text))
    assert len(paths) > 25
    for path in paths:
        assert (ROOT / path).is_file() or (ROOT / "orchestrator" / path).is_file(), path
    code = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
    names = {name.rpartition(".")[2] for name in re.findall(r"`([A-Za-z_]+(?:\.\w+)?)`", text)}
    for name in names - {"py", "json"}:
        assert re.search(rf"\b(class|def) {name}\b|^    {name}\b|^{name} =", code, re.MULTILINE), name


def test_the_picture_of_the_house_shows_its_folders() -> None:
    picture = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("    orchestrator/\n")[2]
    above, _, below = picture.partition("    jobs/")
    for package, text in (("orchestrator", above), ("jobs", below.partition("\n\n")[0])):
        for folder in (ROOT / package).iterdir():
            if folder.is_dir() and folder.name != "__pycache__":
                assert f"{folder.name}/" in text, f"{package}/{folder.name}"


@pytest.mark.parametrize(
    ("module", "unloaded"),
    [
        ("orchestrator.algorithms", {"torch", "optuna"}),
        ("orchestrator.executors", {"submitit"}),
        ("orchestrator.record", {"torch", "submitit", "pandas", "matplotlib", "rich"}),
        ("orchestrator.views", {"torch", "submitit", "pandas", "matplotlib"}),
        ("orchestrator.cli.program", {"torch", "pydantic", "orchestrator.record"}),
        ("jobs.inputs", {"torch", "litgpt", "lm_eval"}),
        ("jobs.probe", {"torch", "litgpt", "lm_eval"}),
    ],
)
def test_a_face_loads_nothing_heavy(module: str, unloaded: set[str]) -> None:
    script = f"import sys, {module}; print(*{unloaded} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []
