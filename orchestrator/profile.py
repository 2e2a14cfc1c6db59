"""A cluster profile (TOML): where and how one evaluation runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from orchestrator.errors import InputError
from orchestrator.evaluation import Many, Section
from orchestrator.tomlfile import TomlFile, near

BUILT_IN = Path(__file__).resolve().parent.parent / "cluster_profiles"


class ClusterProfile(Section):
    """What a profile says. Times carry their unit in the name; the wall-time has no silent default."""

    description: str = ""
    scheduler: Literal["local", "slurm", "oar"]
    shared_dir: str  # runs and cache live here: login node and hosts must both see it
    hosts: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[int, Field(ge=0)]  # per host
    walltime_min: Annotated[float, Field(gt=0)]
    max_jobs: Annotated[int, Field(ge=1)]  # evaluations at once
    poll_s: Annotated[float, Field(gt=0)] = 30.0  # between two questions to the scheduler
    grace_s: Annotated[float, Field(ge=0)] = 60.0  # a result may show so much later than its job ended
    attempts: Annotated[int, Field(ge=1)] = 2  # when a host or the scheduler, not the program, failed
    patience_min: Annotated[float, Field(ge=0)] = 30.0  # how long a scheduler or filesystem may be away
    setup: Many[str] = ()  # shell lines before the job's program
    environment: dict[str, str] = Field(default_factory=dict)
    options: dict[str, str | int | bool] = Field(default_factory=dict)  # the scheduler's own, verbatim

    @property
    def shared_path(self) -> Path:
        """`shared_dir` with ~ and $VARIABLES filled in; relative to the current directory."""
        return Path(os.path.expandvars(self.shared_dir)).expanduser().absolute()

    @property
    def runs_path(self) -> Path:
        return self.shared_path / "runs"

    @property
    def cache_path(self) -> Path:
        return self.shared_path / "cache"


def read_profile(name: str) -> tuple[ClusterProfile, Path]:
    """Find and validate a profile: a path, else the user's own of that name, else a built-in one.

    Raises:
        InputError: no such profile, or with every problem of its file.
    """
    path = _find(name)
    file = TomlFile.read(path)
    problems: list[str] = []
    profile = file.section((), file.content, ClusterProfile, problems)
    if profile is not None and (unset := _unset_variable(profile.shared_dir)):
        problems.append(file.problem(("shared_dir",), f"${unset} is not set: set it or write the path out"))
    if problems:
        raise InputError(problems)
    assert isinstance(profile, ClusterProfile)
    return profile, path


def profiles() -> Iterator[tuple[str, Path]]:
    """Every profile there is by name, the nearest first: the user's own hide built-in ones."""
    seen = set()
    for folder in (_own_folder(), BUILT_IN):
        for path in sorted(folder.glob("*.toml")):
            if path.stem not in seen:
                seen.add(path.stem)
                yield path.stem, path


def _own_folder() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "orchestrator" / "profiles"


def _find(name: str) -> Path:
    if "/" in name or name.endswith(".toml"):
        return Path(name).expanduser()
    known = dict(profiles())
    if name not in known:
        raise InputError(
            f'--profile: unknown profile "{name}"{near(name, known)}; '
            f"write your own to {_own_folder() / (name + '.toml')} or give a path"
        )
    return known[name]


def _unset_variable(text: str) -> str | None:
    left = re.search(r"\$\{?(\w+)", os.path.expandvars(text))
    return left.group(1) if left else None
