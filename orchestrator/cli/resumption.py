"""Commands that go on with a study: in this terminal, detached, from cron, as a job."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import AsJob, Detach, Run, Runs, TakeOver, app, find_run, out, say, tell
from orchestrator.cli.master import close_with_report, go, go_as_job, grow, look_once, only_one_of

AsLaunched = Annotated[bool, typer.Option(help="Go on although the study's file says something else by now.")]


@app.command()
def resume(
    run: Run,
    *,
    detach: Detach = False,
    as_job: AsJob = False,
    take_over: TakeOver = False,
    as_launched: AsLaunched = False,
    evaluations: Annotated[
        int | None,
        typer.Option(min=1, help="Spend so many evaluations in all from now on.", show_default=False),
    ] = None,
    gpu_hours: Annotated[
        float | None, typer.Option(min=0, help="Spend so many GPU-hours in all.", show_default=False)
    ] = None,
    accept_failures: Annotated[
        bool,
        typer.Option("--accept-failures", help="It stopped of its configurations: try others."),
    ] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Go on with a study whose master ended, whatever ended it; with a larger budget, if you give one.

    A larger [budget] in the file that it was launched from does the same.
    """
    only_one_of(detach=detach, as_job=as_job)
    directory = find_run(run, runs)
    if accept_failures:
        from orchestrator.master import control

        numbers = ", ".join(map(str, control.accept_failures(directory, take_over=take_over)))
        tell(f"trials {numbers} count as failures of their configurations")
    grow(directory, evaluations, gpu_hours, take_over=take_over, as_launched=as_launched)
    if as_job:
        go_as_job(directory, take_over=take_over, as_launched=as_launched)
    else:
        go(directory, detach=detach, take_over=take_over, as_launched=as_launched)


@app.command()
def tick(
    run: Run,
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say it all, also that nothing is new.")
    ] = False,
    take_over: TakeOver = False,
    as_launched: AsLaunched = False,
    runs: Runs = Path("runs"),
) -> None:
    """Do what can be done now, and end: for cron, in place of a master that stays.

    Takes in results, asks the search, submits. Says so in one line, and nothing if nothing happened.
    """
    directory = find_run(run, runs)
    look_once(directory, verbose=verbose, take_over=take_over, as_launched=as_launched)


@app.command("master-job", hidden=True)
def master_job(run: Run, number: int, follows: bool = False, as_launched: bool = False) -> None:
    """Be a link of the chain of master's jobs: `master.link`."""
    directory = find_run(run, Path("runs"))
    with directory.log.open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    from orchestrator.master.link import run_link

    say(f"master's job {number} on {socket.gethostname()}, pid {os.getpid()}")
    why = run_link(directory, number, say, follows=follows, as_launched=as_launched)
    if why is not None:
        say(why)
        close_with_report(directory, quiet=False)
        out.file.flush()
