"""Jobs of an OAR cluster: one array per submission, its script by submitit, its states by our own table."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from orchestrator.errors import OrchestratorError, SchedulerError
from orchestrator.executors.base import JobState, Overrides, Resources, State
from orchestrator.executors.batch import BatchExecutor
from orchestrator.executors.call import EVALUATE
from orchestrator.executors.command import answer
from orchestrator.executors.oar import script as oar_script
from orchestrator.executors.oar.oarsub import oarsub
from orchestrator.executors.oar.states import Row, rows
from orchestrator.executors.oar.variables import passed_on

_SETTLE_S = 15.0  # a provisional word that stays so long is the last one
_IN_FLIGHT_S = 60.0
_ONE_CALL = 500  # jobs asked for at once: a command line has its limits


class OarExecutor(BatchExecutor):
    """See `BatchExecutor`. OAR gives each job of an array an id of its own."""

    def __init__(self, resources: Resources, entry: str = EVALUATE, **settings: Any) -> None:
        super().__init__(resources, entry, **settings)
        oar_script.options(resources)  # refused here rather than at the first submission
        self._successor: dict[str, str] = {}  # job -> the one that OAR submitted in its place

    def _array_script(self, token: str, folder: Path, count: int, overrides: Overrides) -> str:
        return oar_script.script(self.resources, token, folder, count, overrides)

    def submit_command(
        self, argv: Sequence[str], token: str, folder: Path, *, walltime_min: float, after: str | None
    ) -> str:
        """See the contract."""
        text = oar_script.command_script(
            self.resources, argv, token, folder, minutes=walltime_min, after=after
        )
        return self._submit_array(text, token, folder, 1)[0]

    def _submit_array(self, text: str, token: str, folder: Path, count: int) -> list[str]:
        script = folder / f"{token}.sh"
        script.write_text(text, encoding="utf-8")
        return oarsub(oar_script.arguments(text, script), count, self._submit_s, passed_on(os.environ))

    def poll(self, jobs: Sequence[str]) -> dict[str, JobState]:
        """See the contract: one oarstat for all jobs, whether they ended or not."""
        open_jobs = [job for job in jobs if job not in self._ended]
        try:
            found = self._rows(open_jobs)
        except OrchestratorError as error:
            unknown = JobState(State.UNKNOWN, reason=str(error))
            return {job: self._ended.get(job, unknown) for job in jobs}
        states = {job: self._judged(job, found.get(self._last(job))) for job in open_jobs}
        return {job: states[job] if job in states else self._ended[job] for job in jobs}

    def _judged(self, job: str, row: Row | None) -> JobState:
        word = "" if row is None else f"{row.id} {row.word}"
        since = self._since(job, word)
        for_s = self._clock() - since
        if row is None:
            known = "oarstat does not list it"
            if for_s < self._grace_s:
                return JobState(State.UNKNOWN, reason=known, provisional=True)
            return JobState(State.LOST, reason=known)
        state = row.state(time.time())
        if row.provisional and for_s < _SETTLE_S:
            return replace(state, state=State.UNKNOWN, provisional=True)
        if state.state is State.ENDED:
            self._ended[job] = state
        return state

    def _last(self, job: str) -> str:
        """The job that OAR has put in the place of this one."""
        while job in self._successor:
            job = self._successor[job]
        return job

    def _rows(self, jobs: Sequence[str]) -> dict[str, Row]:
        """What OAR knows of these jobs; one that it has submitted again is looked up, with another call."""
        found: dict[str, Row] = {}
        asked: set[str] = set()
        while new := {self._last(job) for job in jobs} - asked:
            asked |= new
            found |= self._jobs(sorted(new, key=int))
            self._successor |= {job: row.successor for job, row in found.items() if row.successor}
        return found

    def cancel(self, jobs: Sequence[str]) -> None:
        """Delete those of the jobs that OAR still has under one of our names, and those in their place."""
        found = self._rows(jobs) if jobs else {}
        alive = [job for job, row in found.items() if row.state(0).state is not State.ENDED]
        if not alive:
            return
        try:
            answer(["oardel", *alive], self._answer_s, passed_on(os.environ))
        except SchedulerError:
            # One that ended since the question is no failure.
            left = self._jobs(alive).values()
            if any(
                row.state(0).state is not State.ENDED and "FRAG_JOB_REQUEST" not in row.events for row in left
            ):
                raise

    def find(self, prefix: str) -> dict[str, list[str]]:
        """See the contract. In flight is an oarsub process of this host with one of our names."""
        deadline = time.monotonic() + _IN_FLIGHT_S
        while (submitting := _in_flight(prefix)) is not None:
            if time.monotonic() > deadline:
                raise SchedulerError(
                    f"oarsub is still submitting (process {submitting}): ask again when it is done"
                )
            time.sleep(0.1)
        text = answer(["oarstat", "-J", "-f", "-u"], self._answer_s, passed_on(os.environ))
        found: dict[str, list[str]] = {}
        for job, row in sorted(self._ours(rows(text)).items(), key=lambda item: int(item[0])):
            over = row.state(0).state is State.ENDED and not row.provisional
            if row.name.startswith(prefix) and not over:
                found.setdefault(row.name, []).append(job)
        return found

    def _jobs(self, jobs: Sequence[str]) -> dict[str, Row]:
        found: dict[str, Row] = {}
        for start in range(0, len(jobs), _ONE_CALL):
            asked = [word for job in jobs[start : start + _ONE_CALL] for word in ("-j", job)]
            text = answer(["oarstat", "-J", "-f", *asked], self._answer_s, passed_on(os.environ))
            found |= self._ours(rows(text))
        return found

    def _ours(self, found: Mapping[str, Row]) -> dict[str, Row]:
        return {job: row for job, row in found.items() if row.name.startswith(self._prefix)}


def _in_flight(prefix: str) -> int | None:
    """Process id of an oarsub on this host that submits one of our scripts."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            argv = process.cmdline()
            if any(Path(word).name == "oarsub" for word in argv[:3]) and any(
                option == "-n" and name.startswith(prefix) for option, name in pairwise(argv)
            ):
                return process.pid
    return None
