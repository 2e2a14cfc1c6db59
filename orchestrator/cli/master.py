"""Running a study's master, in this terminal or detached from it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import typer

from orchestrator.cli.console import INTERRUPTED, err, out, say
from orchestrator.run import RunDirectory


def go(run: RunDirectory, *, detach: bool, take_over: bool = False, as_launched: bool = False) -> None:
    """Run the master here or in the background, and close with the report."""
    if detach:
        _detach(run, take_over=take_over, as_launched=as_launched)
        return
    from orchestrator.launch import drive

    try:
        why = drive(run, say, take_over=take_over, as_launched=as_launched)
    except KeyboardInterrupt:
        err.print(
            f"interrupted; jobs go on, nothing is lost. Go on with: orchestrator resume {run.path}",
            markup=False,
        )
        raise typer.Exit(INTERRUPTED) from None
    say(why)
    close_with_report(run, quiet=False)


def _detach(run: RunDirectory, *, take_over: bool, as_launched: bool) -> None:
    """Start `resume` in a session of its own, and see that it holds the run before we leave."""
    options = ["--take-over"] * take_over + ["--as-launched"] * as_launched
    with run.log.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "resume", str(run.path), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    while (code := child.poll()) is None:
        master = run.master()
        if master is not None and master.pid == child.pid:
            out.print(f"master runs detached (pid {child.pid}); log: {run.log}", markup=False)
            out.print(f"follow it with: orchestrator watch {run.path}", markup=False)
            return
        time.sleep(0.1)
    err.print(*run.log.read_text(encoding="utf-8").strip().splitlines()[-1:], markup=False)
    raise typer.Exit(code)


def close_with_report(run: RunDirectory, *, quiet: bool) -> Path:
    """Write the report; unless `quiet`, print the table of trials and where things stand."""
    from orchestrator.monitor import look, status_view, trials_view
    from orchestrator.report import write_report

    summary = look(run)
    path = write_report(run, summary)
    if not quiet:
        out.print(trials_view(run, summary))
        out.print()
        out.print(status_view(run, summary))
        out.print(f"report: {path}", markup=False)
    return path
