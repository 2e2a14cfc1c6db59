"""Tests of what a directory on a shared filesystem can do, for login nodes and hosts alike."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.contract import publish, publish_once

# Beginnings of the types, as in /proc/self/mountinfo, that several hosts can mount. A filesystem of any other
# type may be on this host alone.
# fmt: off
_NETWORK = (
    "9p", "afs", "beegfs", "ceph", "cifs", "daos", "fuse.", "gluster", "gpfs", "lustre", "nfs", "orangefs",
    "panfs", "pvfs", "quobyte", "smb", "virtiofs", "wekafs",
)
# fmt: on


def filesystem(path: Path) -> tuple[str, str]:
    """The type of the filesystem that holds `path`, such as "nfs4", and where it is mounted."""
    best, found = "", "unknown"
    real = os.path.realpath(path)
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4].encode().decode("unicode_escape")
        if len(point) >= len(best) and os.path.commonpath([real, point]) == point:
            best, found = point, rest.split()[0]
    return found, best


def is_shared(kind: str) -> bool:
    """True if several hosts can mount a filesystem of that type."""
    return kind.startswith(_NETWORK)


def trials(directory: Path) -> dict[str, str]:
    """Try what this program does with files in `directory`.

    Returns:
        For "hard link", "rename" and "lock" each: why it does not work; "" if it does.
    """
    scratch = directory / f".trial-{secrets.token_hex(4)}"
    tried: dict[str, Callable[[Path], str]] = {"hard link": _link, "rename": _rename, "lock": _lock}
    try:
        return {name: _said(one, scratch) for name, one in tried.items()}
    finally:
        scratch.unlink(missing_ok=True)


def lock_is_free(path: Path) -> bool:
    """True if nobody holds the lock on a file, as far as this host sees.

    Raises:
        OSError: the file cannot be opened, or the filesystem has no locks.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def server_ahead_s(directory: Path) -> float:
    """Seconds by which the file server's clock is ahead of this host's; negative if it is behind.

    Taken from the time stamp of a new file, so it is exact only up to the time that a write takes.
    """
    path = directory / f".trial-{secrets.token_hex(4)}"
    before = time.time()
    try:
        path.write_text("x", encoding="utf-8")
        after, stamped = time.time(), path.stat().st_mtime
    finally:
        path.unlink(missing_ok=True)
    # Time stamps are as coarse as a tick of the kernel's clock, 0.01 s at most on Linux.
    return stamped - after if stamped > after else min(0.0, stamped - before + 0.01)


def _said(one: Callable[[Path], str], scratch: Path) -> str:
    """Why an operation on the file `scratch` does not work; "" if it does."""
    try:
        return one(scratch)
    except OSError as error:
        return error.strerror or str(error)


def _link(path: Path) -> str:
    first, second = publish_once(path, "first"), publish_once(path, "second")
    whole = path.read_text(encoding="utf-8") == "first"
    return "" if (first, second, whole) == (True, False, True) else "two could create the same file"


def _rename(path: Path) -> str:
    publish(path, "third")
    return "" if path.read_text(encoding="utf-8") == "third" else "a file kept its old content"


def _lock(path: Path) -> str:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return "two could hold the same lock" if lock_is_free(path) else ""
