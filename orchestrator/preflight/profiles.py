"""A profile as a whole: sections that contradict each other, and what its scheduler cannot be asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from orchestrator import executors
from orchestrator.config import ClusterProfile, read_profile
from orchestrator.config.profile import Rule, resources
from orchestrator.config.tomlfile import TomlFile
from orchestrator.contract import Failure
from orchestrator.errors import InputError, Keys, Problem
from orchestrator.executors import Resources
from orchestrator.executors.base import FOLDER


def read_checked_profile(name: str) -> tuple[ClusterProfile, Path]:
    """Find a profile and validate it against all that is known of its scheduler.

    Raises:
        InputError: no such profile, or with every problem of its file, each with its line.
    """
    profile, path = read_profile(name)
    file = TomlFile.read(path)
    problems = [file.problem(one.keys, one.what) for one in _contradictions(profile)]
    problems += _unacceptable(file, profile)
    if problems:
        raise InputError(problems)
    return profile, path


def _contradictions(profile: ClusterProfile) -> Iterator[Problem]:
    if not profile.shared_dir.strip():
        yield Problem(
            ("shared_dir",), "is empty: name a directory that the login node and the hosts both see"
        )
    if profile.gpus_per_trial is not None and (why := _unshared(profile.gpus_per_trial, profile)):
        yield Problem(("gpus_per_trial",), why)
    longest = profile.walltime_max_min
    if longest is not None and longest < profile.walltime_min:
        least = f"{longest:g} is less than walltime_min = {profile.walltime_min:g}"
        yield Problem(("walltime_max_min",), f"{least}: raise it, or leave it out")
    for failure, rule in profile.on_failure.items():
        if (why := _unsound(failure, rule, profile)) is not None:
            yield Problem(("on_failure", str(failure)), why)
    if profile.scheduler == "local" and profile.master is not None:
        yield Problem(("master",), "the local scheduler runs no master as a job: leave the section out")
    yield from _unchartered(profile)


def _unchartered(profile: ClusterProfile) -> Iterator[Problem]:
    """What the site's charter never allows."""
    charter = profile.charter
    if charter is None or not charter.binds(profile.options):
        return
    for key in ("walltime_min", "walltime_max_min"):
        asked = getattr(profile, key)
        if asked is not None and (why := charter.never(asked, profile.hosts)):
            yield Problem((key,), why)
    if charter.no_crossing and charter.margin_min * 60 < profile.poll_s:
        what = f"{charter.margin_min:g} is less than poll_s = {profile.poll_s:g}: a waiting job could start"
        yield Problem(("charter", "margin_min"), f"{what} unseen; give at least {profile.poll_s / 60:g}")


def _unshared(part: int, profile: ClusterProfile) -> str | None:
    """Why a job's GPUs cannot be dealt out to trials, so many to each."""
    if profile.hosts > 1:
        return f"trials with hosts = {profile.hosts} each share no host: leave it out"
    if profile.gpus < part or profile.gpus % part:
        return f"{part} does not divide gpus = {profile.gpus}: give a divisor, or leave it out"
    return None


def _unsound(failure: Failure, rule: Rule, profile: ClusterProfile) -> str | None:
    """Why a rule makes no sense for a failure."""
    if rule is Rule.LONGER and failure is not Failure.WALLTIME:
        return f'a longer wall-time is no remedy for it: "longer" is for {Failure.WALLTIME}'
    if rule is Rule.LONGER and profile.walltime_max_min is None:
        return "give `walltime_max_min`, how long the longer attempt may take"
    if rule is Rule.RESUBMIT and not failure.about_host:
        return 'it would be submitted for ever: "retry" tries `attempts` times'
    return None


def _unacceptable(file: TomlFile, profile: ClusterProfile) -> list[str]:
    """What the scheduler's executor says to an evaluation, and to the master as a job."""
    asked = resources(profile)
    problems = [_line(file, one, ()) for one in _refusals(profile, asked)]
    if profile.master is not None and profile.master.options and profile.scheduler != "local":
        asked = dataclasses.replace(asked, options=profile.master.options, gpus=0)
        refusals = [one for one in _refusals(profile, asked) if one.keys[:1] == ("options",)]
        problems += [_line(file, one, ("master",)) for one in refusals]
    return problems


def _refusals(profile: ClusterProfile, asked: Resources) -> tuple[Problem, ...]:
    folder = profile.runs_path / "study" / "jobs" / "token"
    try:
        executors.create(profile.scheduler, asked).preview([folder / "attempt-1"], "token", folder)
    except InputError as error:
        return error.found
    return ()


def _line(file: TomlFile, problem: Problem, table: Keys) -> str:
    """The line of a problem that an executor has with what the profile, or a `table` of it, asks."""
    keys = ("shared_dir",) if problem.keys == FOLDER else (*table, *problem.keys)
    return file.problem(keys, problem.what)
