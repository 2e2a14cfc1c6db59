"""The master as a job of the cluster: a chain of jobs, each of which submits the next one before it starts.

A job's wall-time is shorter than a study, and a host may die under it. So each link, as its first act,
submits its successor, which the scheduler starts once the link is over, however it ended. One link at most
waits at a time. Who ends the study cancels the one that waits.

The scheduler is the truth about which links there are: their names tell run and number. `master-job.json` in
the run directory repeats it for readers, and holds what a link must know of those before it: whether they
came to anything. Only a running link writes it, or a person's command under the run's lock.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace

from orchestrator import executors
from orchestrator.config import ClusterProfile
from orchestrator.config.profile import MasterJob
from orchestrator.contract import publish
from orchestrator.contract.files import dumps
from orchestrator.errors import InputError, Refused, SchedulerError, StudyStopped
from orchestrator.executors import JobState, Resources, State
from orchestrator.preflight import read_checked_profile
from orchestrator.record import History, RunDirectory
from orchestrator.record.directory import HEARTBEAT_S, MasterProcess
from orchestrator.record.ledger import read
from orchestrator.record.lock import Link

FRUITLESS = 3  # links in a row that died and left nothing done: more would fare no better
_STILL_S = 3 * HEARTBEAT_S  # a heart that has not beaten for so long


class Chain:
    """The master's jobs of one run."""

    def __init__(
        self, run: RunDirectory, profile: ClusterProfile, token: str, *, as_launched: bool = False
    ) -> None:
        """Args:
        run: whose master they are.
        profile: the run's.
        token: the run's own, as in the ledger's first record.
        as_launched: links go on although the study's file says something else by now.

        Raises:
            InputError: the profile does not say how a master is submitted, or the scheduler has no such jobs.
        """
        self._run, self._as_launched = run, as_launched
        self.patience_s = 60 * profile.patience_min
        self.master = section(profile, str(run.profile))
        self._prefix = f"{token}.master-"  # not that of evaluations: cancelling those spares the master
        resources = Resources(
            hosts=1,
            gpus=0,
            walltime_min=self.master.walltime_min,
            max_jobs=1,
            setup=profile.setup,
            environment=profile.environment,
            options=self.master.options or profile.options,
        )
        self._executor = executors.create(profile.scheduler, resources, self._prefix)
        self._heart: tuple[float, float] = 0.0, 0.0  # its last beat, and since when we know of that

    def alive(self) -> dict[int, str]:
        """Jobs of links that are not over, by number.

        Raises:
            SchedulerError: no answer.
        """
        return {number: job for number, (job, _) in self.states().items()}

    def states(self) -> dict[int, tuple[str, JobState]]:
        """Those jobs and what the scheduler says of each.

        Raises:
            SchedulerError: no answer.
        """
        found = self._executor.find(self._prefix)
        jobs = {int(token.removeprefix(self._prefix)): ids[0] for token, ids in found.items() if ids}
        states = self._executor.poll(list(jobs.values())) if jobs else {}
        over = (State.ENDED, State.LOST)
        return {n: (job, states[job]) for n, job in sorted(jobs.items()) if states[job].state not in over}

    def begin(self) -> str:
        """Submit a first link and return its job; the caller holds the run's lock.

        Raises:
            InputError: a link is there already.
            SchedulerError: refused, or no answer.
        """
        if alive := self.alive():
            raise InputError(waits(self._run, alive))
        newest = Link.newest(self._run)
        return self._submit(Link(newest.number + 1 if newest else 1, None), after=None)

    def follow(self, number: int, say: Callable[[str], None]) -> str:
        """Submit the successor of this link, which runs now; return this link's own job.

        Raises:
            StudyStopped: the links before it came to nothing, or the scheduler would not have the successor.
        """
        newest = Link.newest(self._run)  # before the successor's takes its place
        pause, deadline = 5.0, time.monotonic() + self.patience_s
        while True:
            try:
                alive = self.alive()
                own = alive.get(number) or (newest.job if newest and newest.number == number else None)
                if not own:
                    raise StudyStopped(f"{self._run.path}: this is no master's job of the scheduler's")
                if number + 1 not in alive:  # else this link was requeued, and has its successor already
                    self._submit(self._successor(number, newest), after=own)
            except SchedulerError as error:
                said = " ".join(str(error).split())
                if time.monotonic() >= deadline:
                    raise StudyStopped(
                        f"no job follows this one: {said}. Nothing is lost: mend that, then "
                        f"`orchestrator resume {self._run.path} --as-job`"
                    ) from error
                say(f"the next master's job is not submitted yet, trying again in {pause:.0f} s: {said}")
            else:
                return own
            time.sleep(pause)
            pause = min(2 * pause, 120.0)

    def _successor(self, number: int, newest: Link | None) -> Link:
        records, fruitless = _records(self._run), 0
        if newest is not None and not newest.in_order and newest.records == records:
            fruitless = newest.fruitless + 1
        if fruitless >= FRUITLESS:
            raise StudyStopped(
                f"{self._run.path}: {fruitless} master's jobs in a row died and left nothing done; what the "
                f"scheduler wrote of them is in {self._run.jobs(self._token(number - 1))}. Mend that, then "
                f"`orchestrator resume {self._run.path} --as-job`"
            )
        return Link(number + 1, None, fruitless, records, in_order=False)

    def _submit(self, link: Link, *, after: str | None) -> str:
        token = self._token(link.number)
        folder = self._run.jobs(token)
        folder.mkdir(parents=True, exist_ok=True)
        publish(self._run.master_job_file, dumps(asdict(link)))
        # -P: a directory that happens to be called `orchestrator` is not imported instead.
        argv = [sys.executable, "-P", "-u", "-m", "orchestrator", "master-job"]
        argv += [str(self._run.path), str(link.number), *["--follows"] * (after is not None)]
        argv += ["--as-launched"] * self._as_launched
        try:
            job = self._executor.submit_command(
                argv, token, folder, walltime_min=self.master.walltime_min, after=after
            )
        except Refused:
            raise
        except SchedulerError:  # it may have had its effect
            known = self.alive().get(link.number)
            if known is None:
                raise
            job = known
        if Link.newest(self._run) == link:  # else it has started already, and written of its successor
            publish(self._run.master_job_file, dumps(asdict(replace(link, job=job))))
        return job

    def _token(self, number: int) -> str:
        return f"{self._prefix}{number:04d}"

    def closed(self, number: int) -> str | None:
        """Say that this link ends by itself, before its time; return the job that goes on, if there is one.

        Raises:
            SchedulerError: no answer.
        """
        newest = Link.newest(self._run)
        if newest is not None and newest.number == number + 1:
            publish(self._run.master_job_file, dumps(asdict(replace(newest, in_order=True))))
        return self.alive().get(number + 1)

    def end(self, but: int | None = None) -> None:
        """Cancel every link, `but` that one, which ends by itself.

        Raises:
            SchedulerError: refused, or no answer.
        """
        self._executor.cancel([job for number, job in self.alive().items() if number != but])
        if (newest := Link.newest(self._run)) is not None:
            publish(self._run.master_job_file, dumps(asdict(replace(newest, job="", in_order=True))))

    def is_over(self, holder: MasterProcess, own: str) -> bool:
        """True if the run's holder, on another host, is an earlier link and gone for good.

        The scheduler says that its job is over, or runs again as `own`; and its heart has stood still since,
        for a host that the scheduler has lost sight of may still run it.
        """
        if not holder.job:
            return False
        if holder.job != own:
            state = self._executor.poll([holder.job])[holder.job].state
            if state not in (State.ENDED, State.LOST):
                return False
        heard_at = self._run.heard_at
        if heard_at != self._heart[0]:
            self._heart = heard_at, time.monotonic()
        return time.monotonic() - self._heart[1] >= _STILL_S


def open_chain(run: RunDirectory, *, as_launched: bool = False) -> Chain:
    """The chain of a run, whether a link of it is there or not.

    Raises:
        InputError: the profile does not say how a master is submitted.
    """
    profile, _ = read_checked_profile(str(run.profile))
    history = History.replay(read(run.ledger, states=False))
    return Chain(run, profile, history.created.token, as_launched=as_launched)


def section(profile: ClusterProfile, path: str) -> MasterJob:
    """How the profile in that file wants a master submitted.

    Raises:
        InputError: it does not say, or there are no such jobs.
    """
    if profile.scheduler == "local":
        raise InputError(f"{path}: --as-job: the local scheduler has no jobs for a master: use --detach")
    if profile.master is None:
        raise InputError(
            [
                f"{path}: --as-job: the profile does not say how the master is submitted; add",
                "[master]",
                "walltime_min = 720    # of one job; the next one goes on where it ends",
                'options = { partition = "cpu" }    # where one core is to be had; left out: as evaluations',
            ]
        )
    return profile.master


def waits(run: RunDirectory, alive: dict[int, str]) -> str:
    """What to say where another master is wanted while these links are there."""
    jobs = " and ".join(alive[number] for number in sorted(alive))
    return (
        f"{run.path}: its master is a job already, {jobs} (see `orchestrator queue {run.path}`): it goes on "
        "by itself. To have the master here instead, `orchestrator resume --take-over` cancels that"
    )


def _records(run: RunDirectory) -> int:
    """Records of the ledger, but those that only say that a master came."""
    with run.ledger.open("rb") as file:
        return sum(b'"kind":"resumed"' not in line[:80] for line in file)
