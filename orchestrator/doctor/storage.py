"""Checks of the shared directory: it exists, is writable, has room, is shared, and has links and locks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from jobs.probe import storage
from orchestrator.config import ClusterProfile
from orchestrator.doctor.finding import Finding, Group

HERE = Group("Shared directory")
_ROOM_GB = 20.0  # a model of 7 billion parameters in half precision takes 14 GB
_INODES = 10_000  # files that should still fit
_SKEW_S = 5.0  # between two clocks


def findings(profile: ClusterProfile, *, proved: bool) -> Iterator[Finding]:
    """Yield the findings, each as soon as it is known.

    Args:
        profile: the one whose `shared_dir` is checked.
        proved: a job will show whether hosts see the directory, so its kind of filesystem is no reason for a
            warning.
    """
    path = profile.shared_path
    if not path.is_dir():
        what = "is not a directory" if path.exists() else "does not exist"
        yield HERE.wrong(
            "directory", f"{path} {what}", f"mkdir -p {path}, or another shared_dir in the profile"
        )
        return
    if not os.access(path, os.W_OK | os.X_OK):
        yield HERE.wrong("directory", f"{path} is not yours to write", "another shared_dir in the profile")
        return
    yield HERE.ok("directory", str(path))
    yield _kind(profile, path, proved=proved)
    yield from _room(path)
    yield from trials(HERE, storage.trials(path))
    ahead_s = storage.server_ahead_s(path)
    if abs(ahead_s) > _SKEW_S:
        says = (
            f"the file server's is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this host's"
        )
        yield HERE.warning("clock", says, "tell the site: times of files and of logs do not fit together")


def trials(group: Group, found: dict[str, str]) -> Iterator[Finding]:
    """Yield what `jobs.probe.storage.trials` found: a finding for each failure, or one if all works."""
    remedies = {
        "hard link": "results are made whole by it: another shared_dir, on a POSIX filesystem",
        "rename": "another shared_dir, on a POSIX filesystem",
        "lock": "two masters could run one study: another shared_dir, or never start a second one",
    }
    for what, why in found.items():
        if why:
            mark = group.warning if what == "lock" else group.wrong
            yield mark(what, why, remedies[what])
    if not any(found.values()):
        yield group.ok("operations", f"{', '.join(found)} work")


def _kind(profile: ClusterProfile, path: Path, *, proved: bool) -> Finding:
    """Whether the filesystem is of a kind that several hosts can mount."""
    kind, mounted = storage.filesystem(path)
    if profile.scheduler == "local" or storage.is_shared(kind) or proved:
        return HERE.ok("filesystem", f"{kind}, mounted at {mounted}")
    says = (
        f"{kind}, mounted at {mounted}: such a one is seen by one host, unless that host serves it to others"
    )
    return HERE.warning("filesystem", says, "`doctor --submit` proves it from a host of the cluster")


def _room(path: Path) -> Iterator[Finding]:
    """Whether enough space and enough inodes are free."""
    free_gb = shutil.disk_usage(path).free / 1e9
    says = f"{free_gb:.0f} GB free on the filesystem"
    if free_gb < _ROOM_GB:
        yield HERE.warning("space", says, "models, checkpoints and logs go here; make room or choose another")
    else:
        yield HERE.ok("space", f"{says}; a quota of your own may be less (`quota -s`)")
    inodes = os.statvfs(path)
    if inodes.f_files and inodes.f_favail < _INODES:
        yield HERE.warning("files", f"{inodes.f_favail} more fit", "remove some: an attempt makes about ten")
