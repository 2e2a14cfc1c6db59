"""The announcement that an evaluation is about to be ended.

The guard (`jobs.attempt.termination`) makes it, in a thread of its own. The work looks for it at the points
where its state can be saved.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """The evaluation is about to be ended from outside: save what is worth saving, and stop."""


class Interruption:
    """The announcement: made by the guard's thread, at most once; looked for by the thread that works."""

    def __init__(self) -> None:
        self._announced = threading.Event()
        self._saved = threading.Event()
        self._saved.set()  # nothing to save

    @contextmanager
    def savable(self) -> Iterator[None]:
        """Inside, the work calls `check` now and then, and saves itself where that raises."""
        self._saved.clear()
        try:
            yield
        finally:
            self._saved.set()

    def check(self) -> None:
        """Return if the work may go on.

        Raises:
            Interrupted: the end was announced.
        """
        if self._announced.is_set():
            raise Interrupted

    @property
    def saving(self) -> bool:
        """True while there is work that would be saved."""
        return not self._saved.is_set()

    def announce(self, patience_s: float) -> bool:
        """Announce the end and wait until the work is saved; False if that takes more than `patience_s`."""
        self._announced.set()
        return self._saved.wait(patience_s)

    def is_announced(self, within_s: float = 0.0) -> bool:
        """True if the end is announced by now, or is within so many seconds."""
        return self._announced.wait(within_s)
