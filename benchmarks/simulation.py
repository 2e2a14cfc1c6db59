"""One study on a simulated cluster: q hosts, jobs that take their time, in rounds or asynchronously.

In rounds, everything asked for is waited for before more is asked. Asynchronously, a searcher is asked
whenever a host is free. Time is counted in mean job durations; asking takes none of it (seconds per ask
stand beside).
"""

from __future__ import annotations

import heapq
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import emulator
from benchmarks.problem import Problem
from benchmarks.searchers import Searcher
from orchestrator.algorithms import Observation
from orchestrator.contract.assignment import Configuration

DURATIONS = ("published", "lognormal") if emulator.DATA.exists() else ("lognormal",)


@cache
def _published() -> tuple[float, ...]:
    """Durations of the published jobs, from opening to end, divided by their mean."""
    table = emulator.records()
    begun, ended = (pd.to_datetime(table[f"{column}_time"]) for column in ("opening", "ending"))
    seconds = (ended - begun).dt.total_seconds().to_numpy()
    return tuple((seconds / seconds.mean()).tolist())


def duration(kind: str, seed: int, trial: int) -> float:
    """How long a trial's job takes, in mean durations.

    Args:
        kind: "lognormal", exp(N(0, .5)) over its mean; or "published", one of the recorded times.
        seed: of the study.
        trial: its number.
    """
    rng = np.random.default_rng([seed, trial, 1])
    if kind == "published":
        return float(rng.choice(_published()))
    return float(np.exp(rng.normal(0, 0.5) - 0.125))


@dataclass
class Study:
    """What happened: lists over trials in the order of asking, but `rounds` and `ask_seconds`, over asks.

    Attributes:
        scores: observed, maximized; None: failed.
        regrets: of the noise-free values; None: failed.
        started, ended: in mean job durations.
        rounds: sizes of the batches.
        ask_seconds: wall time of each ask, telling included, as some learn then.
        ask_cpu_seconds: the same in CPU time of this process, for a machine that others use too.
    """

    scores: list[float | None] = field(default_factory=list)
    regrets: list[float | None] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    ask_seconds: list[float] = field(default_factory=list)
    ask_cpu_seconds: list[float] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def record(self) -> dict[str, Any]:
        """As JSON values, numbers rounded to what is meaningful."""
        return {
            "scores": [None if score is None else _rounded(score) for score in self.scores],
            "regrets": [None if regret is None else _rounded(regret) for regret in self.regrets],
            "started": [round(instant, 4) for instant in self.started],
            "ended": [round(instant, 4) for instant in self.ended],
            "rounds": self.rounds,
            "ask_seconds": [round(seconds, 4) for seconds in self.ask_seconds],
            "ask_cpu_seconds": [round(seconds, 4) for seconds in self.ask_cpu_seconds],
            "distinct": len(self.seen),
        }


def _rounded(number: float) -> float:
    return float(f"{number:.10g}")


def simulate(
    searcher: Searcher,
    problem: Problem,
    *,
    hosts: int,
    budget: int,
    seed: int,
    asynchronous: bool = False,
    durations: str = "lognormal",
) -> Study:
    """Play a whole study.

    Raises:
        RuntimeError: the searcher proposes something outside the space.
    """
    study = Study()
    running: list[tuple[float, int]] = []  # (end, trial)
    now, untold = 0.0, list[Observation]()
    while True:
        free = min(hosts - len(running), budget - len(study.scores))
        if free and (asynchronous or not running):
            begun, begun_cpu = time.perf_counter(), time.process_time()
            if untold:
                searcher.tell(untold)
            batch = searcher.ask(free)
            study.ask_seconds.append(time.perf_counter() - begun)
            study.ask_cpu_seconds.append(time.process_time() - begun_cpu)
            untold = []
            if batch:
                study.rounds.append(len(batch))
            for configuration in batch:
                trial = len(study.scores)
                _evaluate(study, problem, configuration, seed=seed)
                study.started.append(now)
                study.ended.append(now + duration(durations, seed, trial))
                heapq.heappush(running, (study.ended[trial], trial))
        if not running:
            return study
        now, trial = heapq.heappop(running)
        untold.append(Observation(trial, study.scores[trial], _stderr(study.scores[trial], problem)))


def _stderr(score: float | None, problem: Problem) -> float | None:
    return None if score is None else problem.stderr


def _evaluate(study: Study, problem: Problem, configuration: Configuration, *, seed: int) -> None:
    for name, parameter in problem.space.parameters.items():
        try:
            parameter.encode(configuration[name])
        except ValueError as error:
            raise RuntimeError(f"{name}: {error}") from error
    trial = len(study.scores)
    score, regret = problem.evaluate(configuration, seed=seed, trial=trial)
    study.scores.append(score)
    study.regrets.append(regret)
    study.seen.add(json.dumps(configuration, sort_keys=True))


def utilization(started: Sequence[float], ended: Sequence[float], hosts: int) -> tuple[float, float]:
    """Shares of host time that are busy, from time 0 on.

    Returns:
        Until the last evaluation ends, the tail in which the budget is spent and hosts go idle included; and
        until the last one is started (NaN if that is at once).
    """

    def busy(until: float) -> float:
        spans = (min(end, until) - start for start, end in zip(started, ended, strict=True))
        return sum(span for span in spans if span > 0) / (hosts * until) if until else math.nan

    return busy(max(ended)), busy(max(started))
