"""Running a study's master, in this terminal or detached from it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import typer

from orchestrator.cli import INTERRUPTED
from orchestrator.cli.console import err, out, say
from orchestrator.errors import Held, InputError, SchedulerError, StudyStopped
from orchestrator.record.directory import RunDirectory
from orchestrator.record.lock import MasterLock

_CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS", "SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "OARCONFFILE")


def only_one_of(**ways: bool) -> None:
    """Raises: InputError: more than one way to run the master is wanted."""
    wanted = [f"--{name.replace('_', '-')}" for name, is_wanted in ways.items() if is_wanted]
    if len(wanted) > 1:
        raise InputError(f"{' and '.join(wanted)}: give one of them")


def go(run: RunDirectory, *, detach: bool, take_over: bool = False, as_launched: bool = False) -> None:
    """Run the master here or in the background, and close with the report."""
    end_chain(run, take_over=take_over)
    if detach:
        if (message := _done(run)) is not None:
            out.print(message, markup=False)
            return
        _detach(run, take_over=take_over, as_launched=as_launched)
        return
    from orchestrator.master.launch import drive

    try:
        why = drive(run, say, MasterLock(run, take_over=take_over), as_launched=as_launched)
    except KeyboardInterrupt:
        err.print(
            f"interrupted; jobs go on, nothing is lost. Go on with: orchestrator resume {run.path}",
            markup=False,
        )
        raise typer.Exit(INTERRUPTED) from None
    say(str(why))
    close_with_report(run, quiet=False)


def _done(run: RunDirectory) -> str | None:
    """What is said of a study that is done; None if it is not."""
    from orchestrator.views.status import look

    ended = look(run).history.ended
    return str(ended["message"]) if ended is not None and ended["why"] == "done" else None


def go_as_job(run: RunDirectory, *, take_over: bool = False, as_launched: bool = False) -> None:
    """Submit the master, and leave it to itself."""
    from orchestrator.master.chain import open_chain
    from orchestrator.master.launch import launched_study
    from orchestrator.views.status import look

    chain = open_chain(run, as_launched=as_launched)
    if (message := _done(run)) is not None:
        out.print(message, markup=False)
        return
    launched_study(run, look(run).history, check_original=not as_launched)
    if take_over:
        end_chain(run, take_over=True)
    try:
        with MasterLock(run, take_over=take_over):
            job = chain.begin()
    except SchedulerError as error:
        raise StudyStopped(
            f"the scheduler did not take the master's job: {error}. Mend that, then "
            f"`orchestrator resume {run.path} --as-job`"
        ) from error
    out.print(f"the master is job {job}, and the next one follows it; log: {run.log}", markup=False)
    out.print(f"follow it with: orchestrator watch {run.path}", markup=False)


def end_chain(run: RunDirectory, *, take_over: bool) -> None:
    """See that no job is the run's master, or waits to be.

    Raises:
        InputError: one is, and it is not to be taken over.
        SchedulerError: the scheduler does not say.
        StudyStopped: it was cancelled and has not ended.
    """
    from orchestrator.master.chain import open_chain, waits
    from orchestrator.record.lock import Link

    newest = Link.newest(run)
    if newest is None or newest.job == "":
        return
    chain = open_chain(run)
    if not (alive := chain.alive()):
        return
    if not take_over:
        raise InputError(waits(run, alive))
    chain.end()
    deadline = time.monotonic() + 60
    while alive := chain.alive():
        if time.monotonic() >= deadline:
            raise StudyStopped(
                f"{run.path}: its master's job is cancelled and has not ended: {waits(run, alive)}"
            )
        time.sleep(0.5)


def master_jobs(run: RunDirectory) -> list[dict[str, Any]]:
    """The master's jobs as the scheduler sees them, in JSON values; none if it is no job."""
    from orchestrator.master.chain import open_chain
    from orchestrator.record.lock import Link

    newest = Link.newest(run)
    if newest is None or newest.job == "":
        return []
    try:
        states = open_chain(run).states()
    except SchedulerError as error:
        said = " ".join(str(error).split())
        return [{"job": newest.job, "state": "unknown", "reason": said, "host": ""}]
    return [
        {"job": job, "state": state.word or str(state.state), "reason": state.reason, "host": state.host}
        for job, state in states.values()
    ]


def look_once(
    run: RunDirectory, *, verbose: bool, take_over: bool = False, as_launched: bool = False
) -> None:
    """Do what can be done now, and say in one line what that was."""
    from orchestrator.master.launch import drive
    from orchestrator.views.status import look, news

    before = look(run)
    if before.history.ended is not None:
        if verbose:
            out.print(before.history.ended["message"], markup=False)
        return
    lock = MasterLock(run, take_over=take_over)
    try:
        why = drive(run, say if verbose else _silence, lock, once=True, as_launched=as_launched)
    except Held as held:
        if not held.at_work:
            raise
        out.print(f"nothing done: {held}", markup=False)
        return
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    after = look(run)
    if not verbose:
        for note in after.history.notes[len(before.history.notes) :]:
            say(note)
    line = news(before, after)
    if line or verbose:
        say(line or f"{before.history.created['study']}: nothing new")
    if why is not None:
        out.print(f"report: {close_with_report(run, quiet=True)}", markup=False)


def _silence(_: str) -> None: ...


def crontab_line(run: RunDirectory) -> str:
    """What to have cron do, in this shell's PATH: cron knows few directories, and jobs inherit them.

    With it go the variables that say which cluster this is, and those in the profile's `shared_dir`.
    """
    profile = tomllib.loads(run.profile.read_text(encoding="utf-8"))
    names = [*re.findall(r"\$\{?(\w+)", profile["shared_dir"]), *_CLUSTER]
    kept = {name: value for name in dict.fromkeys(names) if (value := os.environ.get(name))}
    places = dict.fromkeys([*filter(os.path.isabs, os.get_exec_path()), "/usr/bin", "/bin"])
    given = [f"{name}={shlex.quote(value)}" for name, value in {"PATH": ":".join(places), **kept}.items()]
    command = shlex.join([sys.executable, "-P", "-m", "orchestrator", "tick", str(run.path)])
    return f"*/10 * * * * {' '.join(given)} {command}".replace("%", r"\%")


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
    from orchestrator.views.report import write_report
    from orchestrator.views.status import look, status_view, trials_view

    summary = look(run)
    path = write_report(run, summary)
    if not quiet:
        out.print(trials_view(run, summary))
        out.print()
        out.print(status_view(run, summary))
        out.print(f"report: {path}", markup=False)
    return path
