"""Studies on a cluster in memory, whose jobs a test writes down, under masters that may die anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from orchestrator import algorithms
from orchestrator.algorithms import Algorithm, KnownScore
from orchestrator.algorithms.planned import Planned
from orchestrator.config import ClusterProfile, StudySpec
from orchestrator.contract import Assignment, Failure, publish_once
from orchestrator.contract.assignment import Configuration
from orchestrator.contract.files import dumps
from orchestrator.errors import Full
from orchestrator.executors import Executor, JobState, State
from orchestrator.executors.base import Overrides
from orchestrator.master import launch
from orchestrator.master.loop import Master
from orchestrator.preflight import read_checked_study
from orchestrator.record import History, MasterLock, RunDirectory, StudyRecord
from orchestrator.record.facts import Entry
from orchestrator.record.ledger import Line, read
from tests.fakes.studies import write_study

Outcomes = Callable[[Assignment], float | Failure | None]  # None: the job ends without a result


class Crash(BaseException):
    """What a test lets a master die of."""


class Following(Planned):
    """Asynchronous: each point hangs on all that was told before it was asked for."""

    def _plan(self) -> None:
        told = sorted((o.id, o.score) for o in self._told.values())
        known = [(one.point, one.score) for one in self._known]
        digest = hashlib.sha256(repr((self.seed, len(self._points), told, known)).encode()).digest()
        axes = range(self.space.dimension)
        self._append(tuple(int.from_bytes(digest[4 * k : 4 * k + 4]) / 2**32 for k in axes))

    @property
    def known(self) -> list[KnownScore]:
        return self._known

    @property
    def told(self) -> dict[int, float | None]:
        return {i: o.score for i, o in sorted(self._told.items())}


@dataclass
class ScriptedCluster(Executor):
    """Runs every job at once. Time passes only when the master waits: to the end of the next job."""

    seconds: Callable[[int], float] = lambda trial: 1.0  # how long a trial's job runs
    outcome: Outcomes = lambda assignment: sum(map(float, assignment.configuration.values()))
    now: float = 0.0
    epoch: float = 0.0  # what is 0, for the jobs' own clocks
    running: dict[str, tuple[float, Path, str]] = field(default_factory=dict)  # job -> end, attempt, token
    started: list[int] = field(default_factory=list)  # trials, in the order of their submission
    busy: list[int] = field(default_factory=list)  # jobs running, at each wait
    most: int = 10**6  # jobs that it takes
    asked: list[Overrides] = field(default_factory=list)  # of each submission that it took
    lost: set[str] = field(default_factory=set)  # jobs that it has no memory of, though they run
    held: set[str] = field(default_factory=set)  # jobs that no host could start
    requeued: set[str] = field(default_factory=set)  # jobs that wait again although they have ended
    host: Callable[[str], str] = lambda job: ""  # where a job runs
    cancelled: list[str] = field(default_factory=list)

    def submit(
        self, attempts: Sequence[Path], token: str, folder: Path, overrides: Overrides = Overrides()
    ) -> list[str]:
        if len(self.running) + len(attempts) > self.most:
            raise Full("so many jobs are not taken")
        self.asked.append(overrides)
        return [self._start(attempt, token) for attempt in attempts]

    def _start(self, attempt: Path, token: str) -> str:
        job = str(len(self.started))
        if publish_once(attempt / "claim.json", dumps({"job": job})):
            trial = Assignment.model_validate_json((attempt / "trial.json").read_text()).trial
            self.started.append(trial)
            self.running[job] = (self.now + self.seconds(trial), attempt, token)
        return job

    def wait(self, _: float) -> None:
        assert self.running, "the master waits for nothing"
        self.busy.append(len(self.running))
        self.now = min(end for end, _, _ in self.running.values())
        for job in [job for job, (end, _, _) in self.running.items() if end == self.now]:
            self._finish(job)

    def _finish(self, job: str) -> None:
        end, attempt, _ = self.running.pop(job)
        assignment = Assignment.model_validate_json((attempt / "trial.json").read_text())
        found = self.outcome(assignment)
        if found is None:
            return
        content: dict[str, Any] = {"outcome": "ok", "metrics": {"value": {"value": found}}}
        if isinstance(found, Failure):
            content = {"outcome": "failed", "failure": found, "message": f"scripted {found}"}
        end += self.epoch
        ran = {"job": job, "started_at": end - self.seconds(assignment.trial), "ended_at": end}
        content |= {"trial": assignment.trial, "attempt": assignment.attempt, **ran}
        publish_once(attempt / "result.json", dumps(content))

    def poll(self, jobs: Sequence[str]) -> dict[str, JobState]:
        return {job: self._state(job) for job in jobs}

    def _state(self, job: str) -> JobState:
        if job in self.lost:
            return JobState(State.LOST)
        if job in self.requeued:
            return JobState(State.PENDING)
        if job in self.held:
            return JobState(State.PENDING, reason="not started", remedy="release it", launch_failed=True)
        return JobState(State.RUNNING if job in self.running else State.ENDED, host=self.host(job))

    def cancel(self, jobs: Sequence[str]) -> None:
        self.cancelled += jobs
        for job in jobs:
            self.running.pop(job, None)

    def find(self, prefix: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for job, (_, _, token) in self.running.items():
            if token.startswith(prefix):
                found.setdefault(token, []).append(job)
        return found | ({f"{prefix}0000": sorted(self.requeued)} if self.requeued else {})

    def preview(
        self, attempts: Sequence[Path], token: str, folder: Path, overrides: Overrides = Overrides()
    ) -> str:
        raise NotImplementedError

    def submit_command(
        self, argv: Sequence[str], token: str, folder: Path, *, walltime_min: float, after: str | None
    ) -> str:
        raise NotImplementedError


PARAMETER = 'x{axis} = {{ type = "{kind}", low = 0, high = {high} }}\n'


def study(
    directory: Path,
    algorithm: str = "lhs",
    *,
    evaluations: int = 9,
    grid: int | None = None,
    head: str = "",
    slots: int = 3,
    **profile: Any,
) -> tuple[StudySpec, ClusterProfile]:
    """A study of two parameters in [0, 1], or of the whole numbers to `grid`, and where it runs."""
    directory.mkdir(parents=True, exist_ok=True)
    side = {"kind": "float" if grid is None else "int", "high": grid or 1}
    path = write_study(
        directory,
        head=f'name = "study"\nseed = 1\n{head}\n',
        budget=f"[budget]\nevaluations = {evaluations}\n",
        algorithm=f'[algorithm]\nname = "{algorithm}"\n',
        space="[space]\n" + "".join(PARAMETER.format(axis=axis, **side) for axis in (0, 1)),
    )
    content = {"scheduler": "local", "shared_dir": str(directory), "gpus": 0, "walltime_min": 5, "poll_s": 9}
    place = ClusterProfile.model_validate({**content, "max_jobs": slots, **profile})
    (directory / "profile.toml").write_text("")
    return read_checked_study(path), place


class Study:
    """A launched study and what became of it; `go` is a master's life."""

    def __init__(
        self,
        spec: StudySpec,
        profile: ClusterProfile,
        cluster: ScriptedCluster | None = None,
        build: Callable[..., Algorithm] | None = None,
    ) -> None:
        self.spec, self.profile = spec, profile
        self.cluster = cluster or ScriptedCluster()
        self.build = build
        self.said: list[str] = []
        self.run: RunDirectory = launch(spec, profile, spec.path.with_name("profile.toml")).run

    def algorithm(self) -> Algorithm:
        rest: dict[str, Any] = {
            "seed": self.spec.seed,
            "budget": self.spec.most_evaluations,
            "capacity": self.profile.max_jobs,
        }
        if self.build is not None:
            return self.build(self.spec.space, **rest)
        return algorithms.create(self.spec.algorithm, self.spec.space, **rest, **self.spec.options)

    def go(self, *, crash_at: int | None = None, once: bool = False) -> str | None:
        """Run a master; with `crash_at` it dies at the so-manieth named point, and None is returned."""
        try:
            with MasterLock(self.run) as lock, points(crash_at), StudyRecord.open(self.run) as record:
                return Master(
                    self.run,
                    lock,
                    spec=self.spec,
                    profile=self.profile,
                    executor=self.cluster,
                    algorithm=self.algorithm(),
                    record=record,
                    say=self.said.append,
                    wait=self.cluster.wait,
                ).run(once=once)
        except Crash:
            return None

    @property
    def records(self) -> list[Line]:
        return list(read(self.run.ledger))

    def of_kind(self, kind: str) -> list[Line]:
        return [record for record in self.records if record["kind"] == kind]

    @property
    def history(self) -> History:
        return History.replay(self.records)

    @property
    def points(self) -> list[tuple[object, ...]]:
        """What was searched: each trial's point, configuration and source, without the base model."""
        return [
            (trial.point, json.dumps(trial.configuration), trial.same_as)
            for trial in self.history.trials
            if trial.suggestion is not None
        ]


def value_at(configuration: Configuration) -> float:
    return sum((float(x) - 0.3 - 0.2 * axis) ** 2 for axis, x in enumerate(configuration.values()))


def value(assignment: Assignment) -> float:
    return value_at(assignment.configuration)


@contextmanager
def points(crash_at: int | None) -> Iterator[list[str]]:
    """The names of the fault points as they are passed; a crash at the so-manieth of them."""
    passed: list[str] = []

    def point(name: str) -> None:
        passed.append(name)
        if len(passed) == crash_at:
            raise Crash(name)

    modules = ("record.ledger", "attempts.submission", "master.ask_tell")
    with (
        patch(f"orchestrator.{modules[0]}.fault_point", point),
        patch(f"orchestrator.{modules[1]}.fault_point", point),
        patch(f"orchestrator.{modules[2]}.fault_point", point),
    ):
        yield passed


def replayed(study: Study) -> list[tuple[float, ...]]:
    """What a fresh algorithm asks for, asked and told in the order that the ledger has."""
    from orchestrator.master.ask_tell import observation
    from orchestrator.preflight.beginning import begin

    algorithm, history = study.algorithm(), History()
    begin(algorithm, study.spec)
    asked: list[tuple[float, ...]] = []
    told: set[int] = set()
    for record in study.records:
        if record["kind"] == "enqueued":
            algorithm.enqueue([study.spec.space.encode(record["configuration"])])
        if record["kind"] == "asked":
            new = {
                t.number: observation(t.suggestion, evaluation, study.spec)
                for t in history.trials
                if t.number not in told
                and t.suggestion is not None
                and (evaluation := history.evaluation(t)) is not None
            }
            algorithm.tell(list(new.values()))
            told.update(new)
            budget = study.spec.most_evaluations + sum(t.same_as is not None for t in history.trials)
            asked += [suggestion.point for suggestion in algorithm.ask(record["limit"], budget=budget)]
        history.fold(Entry.of(record))
    return asked
