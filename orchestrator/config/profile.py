"""A cluster profile (TOML): where and how one evaluation runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from orchestrator.config.charter import Charter
from orchestrator.config.tomlfile import TomlFile
from orchestrator.contract import Failure
from orchestrator.contract.strict import Many, Section
from orchestrator.errors import InputError, near
from orchestrator.executors import Resources

BUILT_IN = Path(__file__).resolve().parents[2] / "cluster_profiles"


T = TypeVar("T")
Named = Annotated[T, Field(strict=False)]  # a member of an enumeration, by its word in a file


class Rule(StrEnum):
    """What follows on an attempt that failed; the names of `[on_failure]` are those of `Failure`."""

    RETRY = "retry"  # another attempt, on other hosts, `attempts` in all
    RESUBMIT = "resubmit"  # another attempt, not counted
    LONGER = "longer"  # another attempt with a longer wall-time, up to walltime_max_min
    FAIL = "fail"  # the trial has no score


RULES = MappingProxyType(
    {
        Failure.HOST_FAULT: Rule.RETRY,
        Failure.KILLED: Rule.RETRY,
        Failure.LOST: Rule.RETRY,
        Failure.PREEMPTED: Rule.RESUBMIT,
        Failure.WALLTIME: Rule.LONGER,
    }
)


class MasterJob(Section):
    """How the master itself is submitted by `--as-job`: one core, which goes on until the study ends."""

    walltime_min: Annotated[float, Field(ge=2)]  # of one job of the chain; the next one follows it
    options: dict[str, str | int | bool] = Field(default_factory=dict)  # in place of the profile's options


class ClusterProfile(Section):
    """What a profile says. Times carry their unit in the name; the wall-time has no silent default."""

    description: str = ""
    scheduler: Literal["local", "slurm", "oar"]
    shared_dir: str  # runs and cache live here: login node and hosts must both see it
    hosts: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[int, Field(ge=0)]  # per host
    gpus_per_trial: Annotated[int, Field(ge=1)] | None = None  # None: all; fewer: several trials share a job
    walltime_min: Annotated[float, Field(gt=0)]
    max_jobs: Annotated[int, Field(ge=1)]  # at once; an evaluation each, or a pack of them
    poll_s: Annotated[float, Field(gt=0)] = 30.0  # between two questions to the scheduler
    grace_s: Annotated[float, Field(ge=0)] = 60.0  # a result may show so much later than its job ended
    attempts: Annotated[int, Field(ge=1)] = 2  # when a host or the scheduler, not the program, failed
    strikes: Annotated[int, Field(ge=1)] = 2  # host faults after which a host is not used any more
    walltime_max_min: Annotated[float, Field(gt=0)] | None = None  # None: walltime_min is never lengthened
    on_failure: dict[Named[Failure], Named[Rule]] = Field(default_factory=dict)
    patience_min: Annotated[float, Field(ge=0)] = 30.0  # how long a scheduler or filesystem may be away
    setup: Many[str] = ()  # shell lines before the job's program
    environment: dict[str, str] = Field(default_factory=dict)
    options: dict[str, str | int | bool] = Field(default_factory=dict)  # the scheduler's own, verbatim

    master: MasterJob | None = None
    charter: Charter | None = None

    def rule(self, failure: Failure) -> Rule:
        """What follows on an attempt that failed so."""
        return self.on_failure.get(failure, RULES.get(failure, Rule.FAIL))

    @property
    def trials_per_job(self) -> int:
        """Trials that share a job."""
        return 1 if self.gpus_per_trial is None else max(1, self.gpus // self.gpus_per_trial)

    @property
    def slots(self) -> int:
        """Evaluations at once."""
        return self.max_jobs * self.trials_per_job

    @property
    def shared_path(self) -> Path:
        """`shared_dir` with ~ and $VARIABLES filled in; relative to the current directory."""
        return Path(os.path.expandvars(self.shared_dir)).expanduser().absolute()

    @property
    def runs_path(self) -> Path:
        """Where run directories are."""
        return self.shared_path / "runs"

    @property
    def cache_path(self) -> Path:
        """The shared cache, which `prepare` fills."""
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
    for folder in (own_folder(), BUILT_IN):
        for path in sorted(folder.glob("*.toml")):
            if path.stem not in seen:
                seen.add(path.stem)
                yield path.stem, path


def own_folder() -> Path:
    """Return where the user's own profiles are."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "orchestrator" / "profiles"


def _find(name: str) -> Path:
    if "/" in name or name.endswith(".toml"):
        return Path(name).expanduser()
    known = dict(profiles())
    if name not in known:
        raise InputError(
            f'--profile: unknown profile "{name}"{near(name, known)}; '
            f"write your own to {own_folder() / (name + '.toml')} or give a path"
        )
    return known[name]


def _unset_variable(text: str) -> str | None:
    left = re.search(r"\$\{?(\w+)", os.path.expandvars(text))
    return left.group(1) if left else None


def resources(profile: ClusterProfile) -> Resources:
    """What one job asks of the scheduler under this profile."""
    return Resources(
        hosts=profile.hosts,
        gpus=profile.gpus,
        walltime_min=profile.walltime_min,
        max_jobs=profile.max_jobs,
        setup=profile.setup,
        environment=profile.environment,
        options=profile.options,
        trials_per_job=profile.trials_per_job,
    )
