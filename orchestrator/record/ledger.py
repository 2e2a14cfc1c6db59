"""The ledger: the append-only record of a study, and its only truth.

One JSON object a line, each with its sequence number, its time and its kind; `history.py` says what they
mean. Only the master writes (it holds the run's lock). A line is on disk before the master acts on it. A
master that dies in the middle of a line leaves a torn tail without a line end: the next writer cuts it off,
readers pass over it. Anything else that does not read is damage, and a person must look.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.contract.files import dumps
from orchestrator.errors import LedgerCorrupt, StudyStopped
from orchestrator.record.faults import fault_point

Line = dict[str, Any]


def read(path: Path, *, states: bool = True) -> Iterator[Line]:
    """Yield the whole records of a ledger, in order.

    Args:
        path: the ledger.
        states: False passes over the algorithm's states unread, which are most of the bytes.

    Raises:
        LedgerCorrupt: a whole line is no record, or not the next one.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if not line.endswith(b"\n"):
                return
            if not states and b'"kind":"state"' in line[:80]:
                continue
            yield _parsed(line, number, path)


class Ledger:
    """The writing end. The caller holds the run's lock."""

    def __init__(self, path: Path) -> None:
        """Open or create the ledger, and cut off a torn tail.

        Raises:
            LedgerCorrupt: as `read`.
        """
        self.path = path
        self.count, self._end = 0, 0
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        _parsed(line, self.count, path)
                        self.count += 1
                        self._end += len(line)
        self._file = path.open("ab", buffering=0)
        self._file.truncate(self._end)

    def append(self, kind: str, **fields: Any) -> Line:
        """Write one record and wait until it is on disk.

        Raises:
            StudyStopped: the disk is full or gone; the ledger is as it was before.
        """
        record = {"seq": self.count, "at": round(time.time(), 3), "kind": kind, **fields}
        line = dumps(record).encode() + b"\n"
        fault_point(f"before-{kind}")
        try:
            rest = line
            while rest:  # a disk that fills up takes a part first, and refuses the rest
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):  # the disk is gone: the next writer cuts the torn tail off
                self._file.truncate(self._end)
            raise StudyStopped(
                f"{self.path}: cannot be written: {error.strerror}; "
                f"nothing is lost: mend that, then `orchestrator resume {self.path.parent}`"
            ) from error
        self.count += 1
        self._end += len(line)
        fault_point(f"after-{kind}")
        return record

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _parsed(line: bytes, number: int, path: Path) -> Line:
    try:
        record = json.loads(line)
        if record["seq"] == number and record["kind"]:
            return dict(record)
    except (ValueError, KeyError, TypeError):
        pass
    raise LedgerCorrupt(
        f"{path}:{number + 1}: is not record {number} of this ledger; the file was changed by another hand. "
        "Restore it from a copy; the results in trials/ are untouched"
    )
