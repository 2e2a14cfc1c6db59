"""Whether this interpreter has the packages that studies need, and whether jobs can start it."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from jobs.probe import storage, versions
from orchestrator.config import ClusterProfile
from orchestrator.doctor.finding import Finding, Group

_HERE = Group("Python")


def findings(profile: ClusterProfile, *, fine_tunes: bool | None, proved: bool) -> Iterator[Finding]:
    """Yield the findings, each as soon as it is known.

    Args:
        profile: the one that jobs run under.
        fine_tunes: whether the study needs the packages for LoRA fine-tuning; None if no study is known.
        proved: a job will show whether hosts can start this interpreter.
    """
    kind, _ = storage.filesystem(Path(sys.prefix))
    says = f"{platform.python_version()}, {sys.executable}"
    if proved or profile.scheduler == "local" or storage.is_shared(kind) or sys.prefix.startswith("/usr"):
        yield _HERE.ok("interpreter", says)
    else:
        remedy = "jobs start this very path: install on a shared filesystem; `doctor --submit` proves it"
        yield _HERE.warning("interpreter", f"{says} is on a filesystem of this host ({kind})", remedy)
    yield from _packages(fine_tunes=fine_tunes)
    torch = versions(["torch"]).get("torch", "")
    if profile.gpus and torch.endswith("+cpu") and fine_tunes is not False:
        says = f"{torch} knows no GPU, and evaluations ask for {profile.gpus}"
        mark = _HERE.wrong if fine_tunes else _HERE.warning
        yield mark("torch", says, f"{sys.executable} -m pip install --force-reinstall torch")


def _packages(*, fine_tunes: bool | None) -> Iterator[Finding]:
    """Whether all packages are installed in versions that fit."""
    needed, further = _unmet(""), _unmet("llm")
    install = f"{sys.executable} -m pip install -c constraints.txt -e '.[llm]'"
    if needed:
        yield _HERE.wrong("packages", f"missing: {', '.join(needed)}", install)
    elif further and fine_tunes is not False:
        mark = _HERE.wrong if fine_tunes else _HERE.warning
        yield mark("packages", f"missing for fine-tuning: {', '.join(further)}", install)
    else:
        own = versions(["orchestrator", "torch", "litgpt", "lm-eval", "submitit"])
        yield _HERE.ok("packages", ", ".join(f"{name} {version}" for name, version in own.items()))


def _unmet(extra: str) -> list[str]:
    """Requirements of this program and of its `extra` ("": none) that are missing or of another version."""
    wanted = [Requirement(text) for text in importlib.metadata.requires("orchestrator") or ()]
    applying = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": extra})]
    here = versions(one.name for one in applying)
    return [str(one.name) + str(one.specifier) for one in applying if not _met(one, here.get(one.name))]


def _met(wanted: Requirement, version: str | None) -> bool:
    return version is not None and wanted.specifier.contains(version, prereleases=True)
