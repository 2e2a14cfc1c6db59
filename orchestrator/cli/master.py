"""Running a study's master, in this terminal or detached from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from orchestrator.cli import INTERRUPTED
from orchestrator.cli.console import err, say, tell
from orchestrator.errors import Held, InputError

if TYPE_CHECKING:
    from orchestrator.master.launch import Launched
    from orchestrator.record import RunDirectory


def only_one_of(**ways: bool) -> None:
    """Raises: InputError: more than one way to run the master is wanted."""
    wanted = [f"--{name.replace('_', '-')}" for name, is_wanted in ways.items() if is_wanted]
    if len(wanted) > 1:
        raise InputError(f"{' and '.join(wanted)}: give one of them")


def go(
    run: RunDirectory,
    *,
    detach: bool,
    take_over: bool = False,
    as_launched: bool = False,
    launched: Launched | None = None,
) -> None:
    """Run the master here or in the background, and close with the report.

    `launched` is what is known of a study that was launched just now.
    """
    from orchestrator.master import control, drive

    control.end_chain(run, take_over=take_over)
    if detach:
        if (message := control.why_over(run)) is not None:
            tell(message)
            return
        pid = control.detach(run, take_over=take_over, as_launched=as_launched)
        tell(f"master runs detached (pid {pid}); log: {run.log}")
        tell(f"follow it with: orchestrator watch {run.path}")
        return
    from orchestrator.record import MasterLock

    lock = MasterLock(run, take_over=take_over)
    try:
        why = drive(run, say, lock, launched=launched, as_launched=as_launched)
    except KeyboardInterrupt:
        err.print(
            f"interrupted; jobs go on, nothing is lost. Go on with: orchestrator resume {run.path}",
            markup=False,
        )
        raise typer.Exit(INTERRUPTED) from None
    say(str(why))
    close_with_report(run, quiet=False)


def grow(
    run: RunDirectory,
    evaluations: int | None,
    gpu_hours: float | None,
    *,
    take_over: bool,
    as_launched: bool,
) -> None:
    """Record a larger budget: that of the options, else that of the study file, unless `as_launched`."""
    from orchestrator.contract.objective import Budget
    from orchestrator.master.extension import extend, extend_as_edited

    if evaluations is not None or gpu_hours is not None:
        extend(run, Budget(evaluations=evaluations, gpu_hours=gpu_hours), take_over=take_over)
    elif not as_launched:
        extend_as_edited(run, take_over=take_over)


def go_as_job(run: RunDirectory, *, take_over: bool = False, as_launched: bool = False) -> None:
    """Submit the master, and leave it to itself."""
    from orchestrator.master import control

    job = control.submit_master(run, take_over=take_over, as_launched=as_launched)
    if job is None:
        tell(control.why_over(run) or "")
        return
    tell(f"the master is job {job}, and the next one follows it; log: {run.log}")
    tell(f"follow it with: orchestrator watch {run.path}")


def look_once(
    run: RunDirectory,
    *,
    verbose: bool,
    take_over: bool = False,
    as_launched: bool = False,
    launched: Launched | None = None,
) -> None:
    """Do what can be done now, and say in one line what that was.

    `launched` is what is known of a study that was launched just now.
    """
    from orchestrator.master import drive
    from orchestrator.record import look
    from orchestrator.views.status import news

    before = look(run)
    if before.history.ended is not None:
        if verbose:
            tell(before.history.ended.message)
        return
    from orchestrator.record import MasterLock

    lock = MasterLock(run, take_over=take_over)
    try:
        why = drive(
            run,
            say if verbose else _silence,
            lock,
            launched=launched,
            once=True,
            as_launched=as_launched,
        )
    except Held as held:
        if not held.at_work:
            raise
        tell(f"nothing done: {held}")
        return
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    after = look(run)
    if not verbose:
        for note in after.history.notes[len(before.history.notes) :]:
            say(note)
    line = news(before, after)
    if line or verbose:
        say(line or f"{before.history.created.study}: nothing new")
    if why is not None:
        tell(f"report: {close_with_report(run, quiet=True)}")


def _silence(_: str) -> None: ...


def close_with_report(run: RunDirectory, *, quiet: bool) -> Path:
    """Write the report; unless `quiet`, print the table of trials and where things stand."""
    from orchestrator.record import look
    from orchestrator.views import status_view, trials_view, write_report

    summary = look(run)
    path = write_report(run, summary)
    if not quiet:
        for part in (trials_view(run, summary), "", status_view(run, summary), f"report: {path}"):
            tell(part)
    return path
