"""What may end an evaluation from outside: its own walltime, and the scheduler's SIGTERM.

One thread waits for both. Python runs a signal's handler only between byte codes of the main thread, which
may sit in a long call of a library; the wake-up descriptor is written by the C handler at once.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

_ENDING = (signal.SIGTERM, signal.SIGINT)  # SIGINT: ctrl-C at the terminal of a local study
_GRACE_S = 4.0  # for children to end on SIGTERM; a scheduler's own patience is often 5 s or more


def margin_s(walltime_s: float) -> float:
    """How long before the scheduler's limit the evaluation ends itself, to tell why."""
    return min(60.0, 0.1 * walltime_s)


@contextmanager
def guarded(deadline: float | None, on_deadline: Callable[[], None]) -> Iterator[threading.Event]:
    """Inside the block, SIGTERM and `deadline` (seconds since the epoch) end this process and its children.

    SIGTERM exits with 143 (SIGINT: 130) and leaves no result: the scheduler may run the job again, and the
    master decides.
    `on_deadline` is called before the process exits with 0. Runs in the main thread only.

    Yields:
        An event that is set once the process is ending: what fails after that fails for that reason.
    """
    ending = threading.Event()
    done, wake = os.pipe(), os.pipe()
    os.set_blocking(wake[1], False)
    # SIGUSR2 is submitit's "time is nearly up": it would requeue a job that ends itself in good order anyway.
    # Handlers, not SIG_IGN: a child would inherit that.
    before = {one: signal.signal(one, _nothing) for one in (*_ENDING, signal.SIGUSR2)}
    previous = signal.set_wakeup_fd(wake[1], warn_on_full_buffer=False)
    thread = threading.Thread(
        target=_wait, args=(wake[0], done[0], deadline, on_deadline, ending), name="guard", daemon=True
    )
    thread.start()
    try:
        yield ending
    finally:
        os.write(done[1], b".")
        thread.join()
        signal.set_wakeup_fd(previous)
        for one, handler in before.items():
            signal.signal(one, handler)
        for descriptor in (*done, *wake):
            os.close(descriptor)


def end_children() -> None:
    """End every descendant of this process: SIGTERM, then SIGKILL after a grace."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        _signal(child, signal.SIGTERM)
    _, alive = psutil.wait_procs(children, timeout=_GRACE_S)
    for child in {*alive, *psutil.Process().children(recursive=True)}:
        _signal(child, signal.SIGKILL)


def _wait(
    wake: int, done: int, deadline: float | None, on_deadline: Callable[[], None], ending: threading.Event
) -> None:
    while True:
        left = None if deadline is None else max(0.0, deadline - time.time())
        ready, _, _ = select.select([wake, done], [], [], left)
        if done in ready:
            return
        for number in os.read(wake, 64) if wake in ready else b"":
            if number in _ENDING:
                ending.set()
                name = signal.Signals(number).name
                print(f"{name}: ending; the scheduler or the master decides what follows", flush=True)
                _exit(128 + number)
        if not ready:
            ending.set()
            try:
                on_deadline()
            finally:
                _exit(0)


def _exit(code: int) -> None:
    try:
        end_children()
        sys.stdout.flush()
    finally:
        os._exit(code)


def _nothing(_number: int, _frame: object) -> None:
    """Wakes the guard through the wake-up descriptor; nothing to do here."""


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        if os.getpgid(process.pid) == process.pid:  # a leader: its whole group, orphans among them
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
