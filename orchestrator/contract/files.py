"""A file appears whole or not at all.

Readers on other hosts poll these files over NFS, so a file is written under a temporary name in the same
directory, flushed to disk, and only then given its own name.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def dumps(value: Any) -> str:
    """JSON text of `value` on one line.

    Raises:
        ValueError: a number is not finite (JSON has no inf and no NaN; a failure is never a number).
    """
    return json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)


def publish(path: Path, text: str) -> None:
    """Make `path` hold `text`, replacing what was there in one step."""
    temporary = _written(path, text)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def publish_once(path: Path, text: str) -> bool:
    """Make `path` hold `text` unless it exists already; whoever comes first wins.

    A hard link is the one operation that creates a whole file or fails, on NFS too. There an answer may be
    lost and the call repeated, which then finds its own link: the count of links tells.

    Returns:
        True if this call created the file.
    """
    temporary = _written(path, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        if temporary.stat().st_nlink == 1:
            return False
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)
    return True


def _written(path: Path, text: str) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
