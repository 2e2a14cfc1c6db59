"""Submits a probe job and waits for the facts it finds: the login node's side of `jobs.probe.facts`."""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.probe import EXCHANGES, FACTS, LOCK
from orchestrator import executors
from orchestrator.config import ClusterProfile, StudySpec
from orchestrator.config.profile import resources
from orchestrator.contract import publish
from orchestrator.contract.files import dumps
from orchestrator.doctor.finding import Finding
from orchestrator.doctor.host import HERE, judged
from orchestrator.errors import InputError, OrchestratorError
from orchestrator.executors import Executor, JobState, State

_WALLTIME_MIN = 10.0
_RUN_S = 300.0  # from the job's start to its facts: torch takes a minute to load from a busy filesystem
_LATE_S = 5.0  # how long the job of an interrupted submission is looked for
_LOOK_S = 2.0  # between two questions to the scheduler


def findings(
    profile: ClusterProfile,
    wait_min: float,
    progress: Callable[[str], None],
    spec: StudySpec | None = None,
) -> Iterator[Finding]:
    """Submit a probe job and yield what it found. Its files are kept only if something is wrong.

    Args:
        profile: the one that the job runs under.
        wait_min: how long the job may wait in the queue, in minutes.
        progress: called with a line of text whenever something has changed.
        spec: a study to check too; None: none.

    Raises:
        KeyboardInterrupt: passed on after the job has been cancelled.
    """
    probe = _Probe(profile)
    try:
        probe.prepare()
        probe.submit()
    except (OrchestratorError, OSError) as error:
        said = str(error).strip().splitlines()[-1]
        yield HERE.wrong("submission", said, "mend that; the lines above may say how")
        return
    except KeyboardInterrupt:
        probe.cancel_unknown()
        raise
    facts, why = None, None
    try:
        with probe.lock_held():
            facts, why = probe.watch(wait_min * 60, progress)
    finally:
        if facts is None:
            probe.cancel()
    if why is not None:
        yield why
    if facts is not None:
        found = list(judged(profile, facts, probe.waited_s, spec))
        yield from found
        if not any(finding.remedy for finding in found):
            shutil.rmtree(probe.folder, ignore_errors=True)
            with suppress(OSError):  # it holds the files of another probe
                probe.folder.parent.rmdir()
            return
    yield HERE.ok("kept for you", str(probe.folder))


class _Probe:
    """One probe job and its directory."""

    def __init__(self, profile: ClusterProfile) -> None:
        self.token = f"doctor-{secrets.token_hex(4)}"
        self.folder = profile.shared_path / "doctor" / self.token
        self.attempt = self.folder / "attempt-1"
        self.job = ""
        self.waited_s = 0.0
        asked = resources(profile)
        walltime_min = min(asked.walltime_min, _WALLTIME_MIN)
        self.executor: Executor = executors.create(
            profile.scheduler,
            replace(asked, walltime_min=walltime_min, max_jobs=1, trials_per_job=1),
            entry="jobs.probe.facts:probe",
        )
        self._answered = 0

    def prepare(self) -> None:
        """Make the directory of the job.

        Raises:
            InputError: the shared directory does not exist.
        """
        if not (shared := self.folder.parents[1]).is_dir():  # its name may be mistyped: it is not made
            raise InputError(f"none: {shared} is no directory")
        self.attempt.mkdir(parents=True)

    def submit(self) -> None:
        [self.job] = self.executor.submit([self.attempt], self.token, self.folder)

    def cancel(self) -> None:
        with suppress(OrchestratorError):
            self.executor.cancel([self.job])

    def cancel_unknown(self) -> None:
        """Cancel the job of an interrupted submission, which may show in the queue only seconds later."""
        deadline = time.monotonic() + _LATE_S
        while not self.job and time.monotonic() < deadline:
            with suppress(OrchestratorError):
                self.job = next(iter(self.executor.find(self.token).get(self.token, [])), "")
            time.sleep(0.2)
        if self.job:
            self.cancel()

    @contextmanager
    def lock_held(self) -> Iterator[None]:
        """Hold a lock on a file while the job runs, for it to test whether its host sees the lock."""
        with (self.attempt / LOCK).open("a") as file:
            with suppress(OSError):  # no locks here: already reported
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield

    def watch(
        self, wait_s: float, progress: Callable[[str], None]
    ) -> tuple[dict[str, Any] | None, Finding | None]:
        """Answer the host's files until its facts are there.

        Returns:
            The facts and None; or None and the finding that says why there are none.
        """
        submitted, looked = time.monotonic(), 0.0
        started: float | None = None
        state = JobState(State.PENDING)
        while True:
            if self._answer() and started is None:
                started = time.monotonic()
                self.waited_s = started - submitted
                progress(f"job {self.job} runs")
            if (facts := _read(self.attempt / FACTS)) is not None:
                return facts, None
            now = time.monotonic()
            if now - looked > _LOOK_S:
                looked = now
                state = self.executor.poll([self.job])[self.job]
                if started is None and state.state is State.RUNNING:
                    started = now
                    self.waited_s = now - submitted
                progress(_where(self.job, state, now - submitted))
                if state.state in (State.ENDED, State.LOST) and _read(self.attempt / FACTS) is None:
                    return None, self._ended(state)
            if started is None and now - submitted > wait_s:
                return None, self._still_waits(state, wait_s)
            if started is not None and now - started > _RUN_S:
                return None, self._silent(state)
            time.sleep(0.02)

    def _answer(self) -> bool:
        """Answer the next file of the host, its "ping"; True if there was one."""
        if self._answered == EXCHANGES or _read(self.attempt / f"ping-{self._answered}.json") is None:
            return False
        seen = time.time()
        pong = self.attempt / f"pong-{self._answered}.json"
        publish(pong, dumps({"seen": seen, "answered": time.time()}))
        self._answered += 1
        return True

    def _ended(self, state: JobState) -> Finding:
        # The facts may be there and not show yet; the log tells more than a minute of waiting would.
        last = [text for text in self._log().splitlines() if text.strip()][-1:]
        says = f"job {self.job} ended ({state.word or state.state}) without a word"
        if last:
            says = f"job {self.job} ended ({state.word or state.state}): {last[0].strip()}"
        remedy = f"{self.executor.log(self.job, self.folder)} has its log"
        if not last:
            remedy += "; without one the host does not see this directory, or this interpreter"
        return HERE.wrong("job", says, remedy)

    def _still_waits(self, state: JobState, wait_s: float) -> Finding:
        reason = f" ({state.reason})" if state.reason else ""
        says = f"job {self.job} still waited after {wait_s / 60:g} min{reason}; it is cancelled"
        return HERE.warning(
            "job", says, state.remedy or "nothing is wrong with that: try again, or with --wait 60"
        )

    def _silent(self, state: JobState) -> Finding:
        says = f"job {self.job} runs on {state.host or 'a host'}, and nothing that it writes shows here"
        remedy = (
            "shared_dir is not what the host sees under that path: choose a directory on a shared filesystem"
        )
        if self._answered:
            says = (
                f"job {self.job} on {state.host or 'its host'} fell silent after {self._answered} exchanges"
            )
            remedy = f"{self.executor.log(self.job, self.folder)} has its log"
        return HERE.wrong("job", says, remedy)

    def _log(self) -> str:
        with suppress(OSError):
            return self.executor.log(self.job, self.folder).read_text(encoding="utf-8", errors="replace")
        return ""


def _where(job: str, state: JobState, seconds: float) -> str:
    reason = f": {state.reason}" if state.reason else ""
    return f"job {job} {state.state}{reason} ({seconds:.0f} s)"


def _read(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file; None if it does not show yet.

    Raises:
        InputError: it holds JSON that is no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    if not isinstance(content, dict):
        raise InputError(f"{path}: somebody else writes here")
    return content
