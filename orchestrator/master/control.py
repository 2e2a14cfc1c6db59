"""What people, or a page, have a run do: cancel it, try a configuration, go on in the background or as a job.

Nothing here prints: what there is to say is returned, or is the text of an error.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.config import StudySpec
from orchestrator.contract import publish
from orchestrator.contract.assignment import Configuration
from orchestrator.errors import Held, InputError, OrchestratorError, SchedulerError, StudyStopped
from orchestrator.executors.slurm import variables as slurm
from orchestrator.master.chain import open_chain, waits
from orchestrator.master.extension import make_room
from orchestrator.master.launch import drive, launched_study
from orchestrator.master.setup_faults import held_back
from orchestrator.preflight import read_checked_profile
from orchestrator.record import MasterLock, RunDirectory, StudyRecord, look, requests
from orchestrator.record.facts import Accepted, Reopened
from orchestrator.record.lock import Link, is_resumed

_CANCEL_S = 60.0  # for a master to take up that it is cancelled; for its jobs to be gone


class MasterExited(OrchestratorError):
    """A master in the background ended before it held the run; its text is the last line that it wrote."""

    def __init__(self, text: str, exit_code: int) -> None:
        """`exit_code` is that of its process."""
        super().__init__(text)
        self.exit_code = exit_code


def why_over(run: RunDirectory) -> str | None:
    """Return why nothing of the study is left to do; None if it goes on, or can be resumed."""
    ended = look(run).history.ended
    return ended.message if ended is not None and ended.is_done else None


def cancel(run: RunDirectory, say: Callable[[str], None], *, take_over: bool = False) -> str | None:
    """Cancel a study's jobs, and nobody else's, and stop its master.

    A master that runs does it, in its own process; without one it is done here.

    Args:
        run: the study's directory.
        say: takes a line for people.
        take_over: a person says that a master on another host is gone.

    Returns:
        None; or why there is nothing to cancel.

    Raises:
        StudyStopped: the master does not answer, or the study goes on all the same.
        Held: a master on another host may still run.
    """
    ended = look(run).history.ended
    if ended is not None and (ended.is_done or not is_resumed(run)):
        return ended.message
    publish(run.cancel_request, "")
    deadline = time.monotonic() + _CANCEL_S
    while run.master_is_running():
        if time.monotonic() >= deadline:
            raise StudyStopped(
                "the master is asked to cancel and has not answered yet: see `orchestrator status`"
            )
        time.sleep(0.5)
    if run.cancel_is_requested():
        try:
            end_chain(run, take_over=True)
            drive(run, say, MasterLock(run, take_over=take_over), as_launched=True)
        except StudyStopped as stopped:
            say(str(stopped))
        finally:
            run.cancel_request.unlink(missing_ok=True)  # refused: it must not strike later
    if look(run).history.ended is None:
        raise StudyStopped(f"{run.path}: not cancelled")
    return None


def enqueue(run: RunDirectory, words: Sequence[str]) -> tuple[Configuration, StudySpec]:
    """Have a configuration tried, as soon as a master looks; after the end, by an evaluation of its own.

    Args:
        run: the study's directory.
        words: `name=value` each; what they leave out takes its default.

    Returns:
        The whole configuration, and the study.

    Raises:
        InputError: every mistake of the words; or a master runs that has asked for its last evaluations.
    """
    spec = launched_study(run, look(run).history, check_original=False)
    configuration = requests.parsed(words, spec.space)
    request = requests.put(run, configuration)
    # Looked at after the request is there: a study that ends meanwhile has taken it up, or goes on for it.
    history = look(run).history
    if request.name in history.requests:
        return configuration, spec
    wanted = len(history.spent) + sum(one.name not in history.requests for one in requests.waiting(run))
    is_over = history.ended is not None and history.ended.is_done
    most = history.budget.evaluations
    if is_over or (most is not None and wanted > most):
        try:
            make_room(run, max(wanted, most or 0))
        except Held as held:
            request.unlink(missing_ok=True)
            what = f"all of its {most} evaluations are asked for: when they are done, ask again"
            raise InputError(f"{run.path}: {what}") from held
        except InputError:
            request.unlink(missing_ok=True)
            raise
    return configuration, spec


def accept_failures(run: RunDirectory, *, take_over: bool = False) -> list[int]:
    """Take what stopped a study for the configurations' fault: it goes on with others when it is resumed.

    Args:
        run: the study's directory, which no master holds.
        take_over: a person says that a master on another host is gone.

    Returns:
        The trials that count as failures from now on.

    Raises:
        InputError: nothing is held back for the set-up's fault.
        Held: a master runs the study.
    """
    with MasterLock(run, take_over=take_over), StudyRecord.open(run) as record:
        held = sorted(trial.number for trial in held_back(record.history))
        if not held:
            raise InputError(f"{run.path}: --accept-failures: no failure is held back: leave it out")
        record.write(Accepted(trials=tuple(held)))
        if record.history.ended is not None:
            record.write(Reopened(trials=()))
    return held


def detach(run: RunDirectory, *, take_over: bool = False, as_launched: bool = False) -> int:
    """Start a master in a session of its own, and return its pid once it holds the run.

    Args:
        run: the study's directory.
        take_over: a person says that a master on another host is gone.
        as_launched: go on although the study's file says something else by now.

    Raises:
        InputError: the study file changed since launch, or the profile is not valid.
        MasterExited: it ended before that.
    """
    launched_study(run, look(run).history, check_original=not as_launched)
    read_checked_profile(str(run.profile))
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
            return child.pid
        time.sleep(0.1)
    said = run.log.read_text(encoding="utf-8").strip().splitlines()
    raise MasterExited(said[-1] if said else f"the master ended with status {code}", code)


def submit_master(run: RunDirectory, *, take_over: bool = False, as_launched: bool = False) -> str | None:
    """Submit the study's master as a job; the next ones follow by themselves.

    Returns:
        The job; None if nothing of the study is left to do.

    Raises:
        InputError: the profile does not say how, the study file changed since launch, or a master is a job
            already.
        Held: another master has the run.
        StudyStopped: the scheduler did not take it.
    """
    chain = open_chain(run, as_launched=as_launched)
    if why_over(run) is not None:
        return None
    launched_study(run, look(run).history, check_original=not as_launched)
    if take_over:
        end_chain(run, take_over=True)
    try:
        with MasterLock(run, take_over=take_over):
            return chain.begin()
    except SchedulerError as error:
        raise StudyStopped(
            f"the scheduler did not take the master's job: {error}. Mend that, then "
            f"`orchestrator resume {run.path} --as-job`"
        ) from error


def end_chain(run: RunDirectory, *, take_over: bool) -> None:
    """See that no job is the run's master, or waits to be.

    Raises:
        InputError: one is, and it is not to be taken over.
        SchedulerError: the scheduler does not say.
        StudyStopped: it was cancelled and has not ended.
    """
    newest = Link.newest(run)
    if newest is None or newest.job == "":
        return
    chain = open_chain(run)
    if not (alive := chain.alive()):
        return
    if not take_over:
        raise InputError(waits(run, alive))
    chain.end()
    deadline = time.monotonic() + _CANCEL_S
    while alive := chain.alive():
        if time.monotonic() >= deadline:
            raise StudyStopped(
                f"{run.path}: its master's job is cancelled and has not ended: {waits(run, alive)}"
            )
        time.sleep(0.5)


def master_jobs(run: RunDirectory) -> list[dict[str, Any]]:
    """Return the master's jobs as the scheduler sees them, in JSON values; none if it is no job."""
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


def crontab_line(run: RunDirectory) -> str:
    """Return what to have cron do, in this shell's PATH: cron knows few directories, and jobs inherit them.

    With it go the variables that say which cluster this is, and those in the profile's `shared_dir`.
    """
    profile = tomllib.loads(run.profile.read_text(encoding="utf-8"))
    names = re.findall(r"\$\{?(\w+)", profile["shared_dir"])
    names += [*slurm.CLUSTER, *slurm.CHARGE.values()]
    kept = {name: value for name in dict.fromkeys(names) if (value := os.environ.get(name))}
    folders = dict.fromkeys([*filter(os.path.isabs, os.get_exec_path()), "/usr/bin", "/bin"])
    given = [f"{name}={shlex.quote(value)}" for name, value in {"PATH": ":".join(folders), **kept}.items()]
    command = shlex.join([sys.executable, "-P", "-m", "orchestrator", "tick", str(run.path)])
    return f"*/10 * * * * {' '.join(given)} {command}".replace("%", r"\%")
