"""One study under a fault: its files, its master in a process of its own, and what its ledger says."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from orchestrator.record import RunDirectory
from orchestrator.record.ledger import Line, read
from tests.clusters.slurm import SlurmCluster

T = TypeVar("T")
PROGRAM = Path(__file__).with_name("fault_program.py")
QUIET = "exclude = 'n3,n4'"  # the hosts that are taken away
_ALIVE = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "SPECIAL_EXIT")

_STUDY = """
name = "study"
seed = 5
[budget]
evaluations = {evaluations}
[algorithm]
name = "lhs"
[objective]
metric = "loss"
direction = "minimize"
[space]
x = {{ type = "float", low = 0.0, high = 1.0 }}
[evaluation]
kind = "command"
command = ["{python}", "{program}", "{mode}", "{seconds}"]
"""

_PROFILE = """
scheduler = "slurm"
shared_dir = "{shared}"
gpus = 0
poll_s = 1
grace_s = 2
{lines}
[environment]
OMP_NUM_THREADS = "1"
[options]
{options}
"""


@dataclass(frozen=True)
class Situation:
    """What befalls a study, and what is to be in its ledger then.

    Attributes:
        expected: how each trial's attempts end, as `Case.got` writes it.
        mode: of the program, and for how many `seconds` it works.
        profile: lines of the cluster profile besides the usual ones.
        options: sbatch's.
        act: does what befalls it, once the master is up; None: nothing from outside.
        within_s: from the scheduler's knowing, or from the result's appearance, to the ledger.
    """

    name: str
    expected: str
    mode: str = "work"
    seconds: float = 2
    evaluations: int = 1
    max_jobs: int = 3
    attempts: int = 1
    walltime_min: float = 5
    profile: str = ""
    options: tuple[str, ...] = (QUIET,)
    act: Callable[[Case], None] | None = None
    within_s: float = 10


class Watch(threading.Thread):
    """Asks the queue twice a second, to know when SLURM knew."""

    def __init__(self, cluster: SlurmCluster) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._over = threading.Event()
        self.ended_at: dict[str, float] = {}
        self.waits_since: dict[tuple[str, str], float] = {}  # (job, reason) ->

    def run(self) -> None:
        seen: set[str] = set()
        while not self._over.wait(0.5):
            with suppress(subprocess.SubprocessError):
                argv = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r"]
                rows = [line.split("|") for line in self._cluster.run(*argv).splitlines()]
                now, here = time.time(), set()
                for job, word, reason in rows:
                    here.add(job)
                    if word in _ALIVE:
                        self.ended_at.pop(job, None)
                        self.waits_since.setdefault((job, reason), now)
                    else:
                        self.ended_at.setdefault(job, now)
                for job in seen - here:  # of an array element that never started nothing is left
                    self.ended_at.setdefault(job, now)
                seen |= here

    def stop(self) -> None:
        self._over.set()
        self.join()


@dataclass
class Case:
    """A situation that is played."""

    situation: Situation
    cluster: SlurmCluster
    watch: Watch
    folder: Path
    noticed_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _master: subprocess.Popen[bytes] | None = None

    def play(self, patience_s: float) -> None:
        """Run the study with what befalls it, to the end of its master."""
        self.folder.mkdir(parents=True)
        one = self.situation
        text = _STUDY.format(
            evaluations=one.evaluations,
            python=sys.executable,
            program=PROGRAM,
            mode=one.mode,
            seconds=one.seconds,
        )
        (self.folder / "study.toml").write_text(text)
        lines = f"max_jobs = {one.max_jobs}\nattempts = {one.attempts}\nwalltime_min = {one.walltime_min}\n"
        profile = _PROFILE.format(
            shared=self.folder, lines=lines + one.profile, options="\n".join(one.options)
        )
        (self.folder / "profile.toml").write_text(profile)
        argv = ["launch", str(self.folder / "study.toml"), "--profile", str(self.folder / "profile.toml")]
        deadline = time.monotonic() + patience_s
        with (self.folder / "output").open("wb") as output:
            master = self._master = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", *argv],
                cwd=self.folder,
                env={**os.environ, **self.cluster.environment, "COLUMNS": "400"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            try:
                if one.act is not None:
                    one.act(self)
                master.wait(max(1.0, deadline - time.monotonic()))
            except (TimeoutError, subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
                self.problems.append(f"{type(error).__name__}: {error}")
            finally:
                master.kill()
                master.wait()
        self._judge()

    # -- what befalls it may ask ----------------------------------------------------------------------------

    def job(self, trial: int = 0) -> str:
        """The id of the job of the trial's first attempt; waits for it."""
        return self._until(lambda: self._jobs.get((trial, 1)), f"the job of trial {trial}")

    def started(self, count: int = 1) -> None:
        """Wait until so many processes of evaluations have started."""
        self._until(lambda: len(list(self.folder.glob("runs/*/trials/*/*/started-*"))) >= count, "a start")

    def seen(self, job: str) -> None:
        """Wait until the watch has seen the job alive."""
        self._until(lambda: any(one == job for one, _ in list(self.watch.waits_since)), f"job {job}")

    def results(self, count: int) -> None:
        """Wait until so many results are there."""
        self._until(lambda: len(list(self.folder.glob("runs/*/trials/*/*/result.json"))) >= count, "a result")

    def told(self, words: str, job: str, reason: str) -> None:
        """Wait until the master tells the user of a reason that the queue shows."""
        since = self._until(lambda: self.watch.waits_since.get((job, reason)), f"the reason {reason}")
        self._until(lambda: words in self._output, f"the word of {reason}")
        self.noticed_s.append(time.time() - since)

    def _until(self, true: Callable[[], T | None], what: str, seconds: float = 90) -> T:
        deadline = time.monotonic() + seconds
        while not (found := true()):
            if self._master is not None and self._master.poll() is not None:
                raise TimeoutError(f"the master ended before {what}: …{self._output[-200:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds:g} s for {what}")
            time.sleep(0.2)
        return found

    # -- the end --------------------------------------------------------------------------------------------

    @property
    def records(self) -> list[Line]:
        path = self.folder / "runs/study/ledger.jsonl"
        return list(read(path)) if path.exists() else []

    @property
    def _output(self) -> str:
        return " ".join((self.folder / "output").read_text(errors="replace").split())

    @property
    def _jobs(self) -> dict[tuple[int, int], str]:
        """(trial, attempt) -> job."""
        records = self.records
        attempts = {r["token"]: r["attempts"] for r in records if r["kind"] == "submitting"}
        return {
            (trial, attempt): job
            for record in records
            if record["kind"] == "submitted"
            for (trial, attempt), job in zip(attempts[record["token"]], record["jobs"], strict=True)
        }

    @property
    def got(self) -> str:
        """How the attempts of each trial ended, trials that went alike counted."""
        ends: dict[int, list[str]] = {}
        for record in self.records:
            if record["kind"] in ("failed", "evaluated"):
                failure = record.get("failure") or record.get("evaluation", {}).get("failure")
                ends.setdefault(record["trial"], []).append(failure or "ok")
        counted = Counter(" → ".join(one) for one in ends.values())
        return ", ".join(f"{n} × {end}" if n > 1 else end for end, n in sorted(counted.items()))

    def _judge(self) -> None:
        records = self.records
        evaluated = Counter(record["trial"] for record in records if record["kind"] == "evaluated")
        if self.got != self.situation.expected:
            self.problems.append("ended otherwise")
        if any(count > 1 for count in evaluated.values()):
            self.problems.append("a score counts twice")
        if not records or records[-1]["kind"] != "ended":
            self.problems.append("the study did not end")
        self.noticed_s += [s for record in records if (s := self._delay_s(record)) is not None]
        if self.noticed_s and max(self.noticed_s) > self.situation.within_s:
            self.problems.append(f"noticed later than {self.situation.within_s:g} s")

    def _delay_s(self, record: Line) -> float | None:
        """Seconds from when it could be known to the record of an attempt's end."""
        if record["kind"] not in ("failed", "evaluated"):
            return None
        place = record["trial"], record["attempt"]
        result = RunDirectory(self.folder / "runs/study").attempt(*place) / "result.json"
        known = (
            result.stat().st_mtime if result.exists() else self.watch.ended_at.get(self._jobs.get(place, ""))
        )
        return None if known is None else float(record["at"]) - known
