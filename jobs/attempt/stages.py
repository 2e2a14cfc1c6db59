"""Where an evaluation is: its stages, the seconds each took, and the progress lines of its log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobs.attempt.interruption import Interruption


class Stages:
    """The stages of one evaluation in order; one at a time.

    Attributes:
        now: the stage's name.
        seconds: of each stage so far.
        interruption: announced when the evaluation is about to be ended.
    """

    def __init__(
        self,
        deadline: float | None = None,
        interruption: Interruption | None = None,
        on_trained: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin at the stage "start".

        Args:
            deadline: when the evaluation must have ended, in seconds since the epoch; for the log.
            interruption: announced when the evaluation is about to be ended.
            on_trained: called whenever more of the training is saved.
        """
        self.now = "start"
        self.seconds: dict[str, float] = {}
        self._trained: float | None = None
        self.interruption = interruption or Interruption()
        self._deadline = deadline
        self._said_at, self._on_trained = 0.0, on_trained

    @property
    def trained(self) -> float | None:
        """Share of the training that another attempt would find saved; None if nothing is trained."""
        return self._trained

    @trained.setter
    def trained(self, share: float | None) -> None:
        self._trained = share
        self._on_trained()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Inside is the stage `name`: its time is added to that stage."""
        before, self.now, begun = self.now, name, time.perf_counter()
        self.say("begins")
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun
        self.say(f"took {self.seconds[name]:.1f} s")
        self.now = before  # not after a failure: the stage that failed is the one to name

    def say(self, text: str) -> None:
        """Write one line to the log: time, stage, text, time left."""
        left = "" if self._deadline is None else f"  ({_duration(self._deadline - time.time())} left)"
        print(f"{time.strftime('%H:%M:%S')} {self.now}: {text}{left}", flush=True)
        self._said_at = time.monotonic()

    def progress(self, text: str, every_s: float = 5.0) -> None:
        """Like `say`, at most every `every_s` seconds."""
        if time.monotonic() - self._said_at >= every_s:
            self.say(text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
