"""What one link of a chain of master's jobs does: see to its successor, then run the study."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import psutil

from orchestrator.errors import Held, OrchestratorError, SchedulerError
from orchestrator.master.chain import Chain, open_chain
from orchestrator.master.launch import drive
from orchestrator.record import History, MasterLock, RunDirectory
from orchestrator.record.ledger import read

MARGIN = "ORCHESTRATOR_MASTER_MARGIN_MIN"  # for tests: links end so long before their wall-time
_LOOK_S = 2.0  # between two tries to have the run's lock


class WalltimeNear(KeyboardInterrupt):
    """The link's time is up: it ends as on Ctrl-C."""


def run_link(
    run: RunDirectory, number: int, say: Callable[[str], None], *, follows: bool, as_launched: bool
) -> str | None:
    """Be this link: return why the study ended; None if it has not, and another link goes on.

    Args:
        run: whose master this is.
        number: of the link.
        say: takes a line for people.
        follows: after another link: a study that has ended is not reopened.
        as_launched: as for `drive`.

    Raises:
        OrchestratorError: as `drive`; the chain has ended then.
        KeyboardInterrupt: the job was told to end; the next link goes on.
    """
    chain = open_chain(run, as_launched=as_launched)
    try:
        with _ended_in(_seconds(chain)):
            ended = History.replay(read(run.ledger, states=False)).ended
            if follows and ended is not None:
                why: str | None = ended.message
            else:
                own = chain.follow(number, say)
                why = _driven(run, own, chain, say, as_launched=as_launched)
    except KeyboardInterrupt as interrupt:
        _hand_over(chain, number, say)
        if isinstance(interrupt, WalltimeNear):
            return None
        raise
    except OrchestratorError:
        _end(chain, number, say)
        raise
    _end(chain, number, say)
    return why


def _driven(
    run: RunDirectory, own: str, chain: Chain, say: Callable[[str], None], *, as_launched: bool
) -> str | None:
    """`drive`, once the run is free: its last master may be dying, or on a host that has died."""
    deadline = time.monotonic() + chain.patience_s
    is_over = partial(chain.is_over, own=own)
    waiting = False
    while True:
        try:
            return drive(run, say, MasterLock(run, job=own, is_over=is_over), as_launched=as_launched)
        except Held as held:
            if time.monotonic() >= deadline:
                raise
            if not waiting:
                say(f"waiting for the run: {held}")
            waiting = True
        time.sleep(_LOOK_S)


def _seconds(chain: Chain) -> float:
    """How long this process may go on, in seconds."""
    walltime_min = chain.master.walltime_min
    margin_min = float(os.environ.get(MARGIN, min(5.0, walltime_min / 4)))
    age_s = time.time() - psutil.Process().create_time()
    return max(1.0, 60 * (walltime_min - margin_min) - age_s)


@contextmanager
def _ended_in(seconds: float) -> Iterator[None]:
    """Raise WalltimeNear here after so long."""

    def ring(*_: object) -> None:
        raise WalltimeNear

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 10.0)  # again: a library's callback may swallow the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _hand_over(chain: Chain, number: int, say: Callable[[str], None]) -> None:
    try:
        job = chain.closed(number)
    except SchedulerError as error:
        say(f"this job ends, the study's jobs go on; whether a next one waits is not known: {error}")
    else:
        goes_on = f"job {job} goes on" if job else "no job goes on: `orchestrator resume --as-job` has one"
        say(f"this job ends, the study's jobs go on; {goes_on}")


def _end(chain: Chain, number: int, say: Callable[[str], None]) -> None:
    try:
        chain.end(but=number)
    except SchedulerError as error:
        say(f"the job that was to go on is not cancelled: it will end by itself: {error}")
