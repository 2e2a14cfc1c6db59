"""Whether studies will run under a profile: every check, one after the other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from orchestrator.config import ClusterProfile, StudySpec
from orchestrator.doctor import oar, python, slurm, storage
from orchestrator.doctor.finding import Finding, Group
from orchestrator.errors import InputError
from orchestrator.preflight import prepared_inputs, read_checked_study

_SITES = {"slurm": slurm.findings, "oar": oar.findings}


def examine(profile: ClusterProfile, study: Path | None = None, *, proved: bool = False) -> Iterator[Finding]:
    """Yield what can be found out without a job: on the scheduler, the shared directory, this host, a study.

    Args:
        profile: the one to check.
        study: the file of a study to check too; None: none.
        proved: `try_host` follows, and will show what could only be guessed here.
    """
    if profile.scheduler in _SITES:
        yield from _SITES[profile.scheduler](profile)
    if profile.charter is not None:
        yield _charter(profile)
    yield from storage.findings(profile, proved=proved)
    spec = None
    if study is not None:
        spec, found = _study(profile, study)
        yield found
    fine_tunes = None if spec is None else spec.evaluation.kind == "litgpt"
    yield from python.findings(profile, fine_tunes=fine_tunes, proved=proved)


def try_host(
    profile: ClusterProfile, study: Path | None, wait_min: float, progress: Callable[[str], None]
) -> Iterator[Finding]:
    """Yield what only a job on a host can show; see `probe.findings`.

    Args:
        profile: the one that the job runs under.
        study: the file of a study to check too; None: none. What is wrong with it `examine` reports.
        wait_min: how long the job may wait in the queue, in minutes.
        progress: called with a line of text whenever something has changed.
    """
    from orchestrator.doctor import probe  # noqa: PLC0415 — submitit is loaded for it

    spec = None
    if study is not None:
        with suppress(InputError):  # `examine` reported it
            spec = read_checked_study(study)
    return probe.findings(profile, wait_min, progress, spec)


def _study(profile: ClusterProfile, study: Path) -> tuple[StudySpec | None, Finding]:
    """The study, if its file is right, and whether it can be launched."""
    here, spec = Group("Study"), None
    try:
        spec = read_checked_study(study)
        prepared_inputs(spec, profile.cache_path)
    except InputError as error:
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        remedy = "`orchestrator check` tells all of it"
        return spec, here.wrong("file" if spec is None else "cache", error.problems[0] + more, remedy)
    if spec.evaluation.kind != "litgpt":
        return spec, here.ok(spec.name, f"a {spec.evaluation.kind} evaluation: needs no preparation")
    return spec, here.ok(spec.name, f"model, data and tasks are prepared in {profile.cache_path}")


def _charter(profile: ClusterProfile) -> Finding:
    """Whether the charter (the site's usage policy) lets a job start now."""
    here, charter = Group("Charter"), profile.charter
    assert charter is not None
    if not charter.binds(profile.options):
        return here.ok("jobs", "exempt from it by their options")
    verdict = charter.verdict(dt.datetime.now(dt.UTC), profile.walltime_min, profile.hosts, 0.0)
    if verdict.allowed:
        return here.ok("jobs", f"one of {profile.walltime_min:g} min may start now")
    when = f"from {verdict.until:%a %d %b %H:%M}" if verdict.until else "never"
    return here.ok("jobs", f"not now, {when}: {verdict.why}")
