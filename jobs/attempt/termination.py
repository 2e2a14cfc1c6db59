"""What may end an evaluation from outside: its own walltime, and the scheduler's signals.

One thread waits for both. Python runs a signal's handler only between byte codes of the main thread, which
may sit in a long call of a library; the wake-up descriptor is written by the C handler at once.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

import psutil

from jobs.attempt.interruption import Interruption

_ENDING = (signal.SIGTERM, signal.SIGINT)  # SIGINT: ctrl-C at the terminal of a local study
# By one of these schedulers warn that the end is near: SLURM's --signal and OAR's --checkpoint name which.
_WARNING = (signal.SIGUSR1, signal.SIGUSR2)
_SAVING_S = 20.0  # a scheduler's patience after SIGTERM is 30 s by default; where it is less, it kills
GRACE_S = 4.0  # for children to end on SIGTERM; a scheduler's own patience is often 5 s or more


def margin_s(walltime_s: float) -> float:
    """How long before the scheduler's limit the evaluation ends itself, to save its state and tell why.

    Of this, half is for saving or for children to end; the rest is for the result, and for what passed
    between the scheduler's start of the job and ours.
    """
    return min(60.0, 0.1 * walltime_s)


@dataclass(frozen=True)
class Limit:
    """When and how an evaluation ends itself.

    Attributes:
        deadline: seconds since the epoch.
        patience_s: seconds that the work may then take to be saved, and after that child processes to end.
        on_deadline: called when that is done, before the process exits with 0.
    """

    deadline: float
    patience_s: float
    on_deadline: Callable[[], None]


@contextmanager
def guarded(interruption: Interruption, limit: Limit | None, grace_s: float = GRACE_S) -> Iterator[None]:
    """Inside the block, SIGTERM, a warning and `limit` end this process and its children.

    The end is first announced to `interruption`, so that the work can be saved. An error after that is a
    consequence of it. After a signal the exit status is 128 + SIGTERM (SIGINT: 130), and there is no result:
    the scheduler may run the job again, and the master decides. A warning that finds neither something to
    save nor a child, such as one that comes while a trained model is scored, ends nothing: there is still a
    chance to be done in time. It must be used in the main thread.

    Args:
        interruption: where the end is announced to the work.
        limit: the wall-time; None: there is none.
        grace_s: seconds that child processes have to end on SIGTERM.
    """
    done, wake = os.pipe(), os.pipe()
    os.set_blocking(wake[1], False)
    # Handlers, not SIG_IGN: a child would inherit that.
    before = {one: signal.signal(one, _nothing) for one in (*_ENDING, *_WARNING)}
    previous = signal.set_wakeup_fd(wake[1], warn_on_full_buffer=False)
    thread = threading.Thread(
        target=_wait, args=(wake[0], done[0], interruption, limit, grace_s), name="guard", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        os.write(done[1], b".")
        thread.join()
        signal.set_wakeup_fd(previous)
        for one, handler in before.items():
            signal.signal(one, handler)
        for descriptor in (*done, *wake):
            os.close(descriptor)


def leave(code: int) -> NoReturn:
    """End this process at once, after its exit functions (`atexit`): Python's own clean-up takes a second."""
    atexit._run_exitfuncs()  # noqa: SLF001 - temporary files go; there is no public way to say so
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def end_children(grace_s: float = GRACE_S) -> None:
    """End every descendant of this process: SIGTERM, then SIGKILL after `grace_s` seconds."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        _signal(child, signal.SIGTERM)
    _, alive = psutil.wait_procs(children, timeout=grace_s)
    killed = {*alive, *psutil.Process().children(recursive=True)}
    for child in killed:
        _signal(child, signal.SIGKILL)
    psutil.wait_procs(killed, timeout=1.0)  # they are gone before this process is


def _wait(wake: int, done: int, interruption: Interruption, limit: Limit | None, grace_s: float) -> None:
    """The guard's thread: wait for signals (on `wake`), the limit, or the end of the block (on `done`)."""
    while True:
        left = None if limit is None else max(0.0, limit.deadline - time.time())
        ready, _, _ = select.select([wake, done], [], [], left)
        if done in ready:
            return
        for number in os.read(wake, 64) if wake in ready else b"":
            if number in _ENDING or (number in _WARNING and _is_heeded(number, interruption)):
                name = signal.Signals(number).name
                print(f"{name}: ending; the scheduler or the master decides what follows", flush=True)
                _announce(interruption, max(_SAVING_S, grace_s + 5.0))
                _exit(128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM), grace_s)
        if not ready and limit is not None:
            _announce(interruption, limit.patience_s)
            try:
                end_children(min(grace_s, limit.patience_s))
                limit.on_deadline()
            finally:
                _exit(0, 0.0)


def _is_heeded(number: int, interruption: Interruption) -> bool:
    """True if a warning has to end this process: there is something to save, or a child to end."""
    if interruption.saving or psutil.Process().children():
        return True
    print(f"{signal.Signals(number).name}: nothing to save, going on as long as may be", flush=True)
    return False


def _announce(interruption: Interruption, patience_s: float) -> None:
    if not interruption.announce(patience_s):
        print(f"the work was not saved within {patience_s:.3g} s: ending without", flush=True)


def _exit(code: int, grace_s: float) -> None:
    try:
        end_children(grace_s)
        sys.stdout.flush()
    finally:
        os._exit(code)


def _nothing(_number: int, _frame: object) -> None:
    """Does nothing: the signal wakes the guard through the wake-up descriptor."""


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal to a process; to its whole group if it leads one."""
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        if os.getpgid(process.pid) == process.pid:  # a leader: its whole group, orphans among them
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
