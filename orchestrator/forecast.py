"""What a study would do, and at most cost, before anything is submitted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator import algorithms
from orchestrator.profile import ClusterProfile
from orchestrator.spec import StudySpec
from orchestrator.trial import Configuration, Observation


@dataclass(frozen=True)
class Forecast:
    """What a study would do, and at most cost.

    Attributes:
        batch: configurations of the first round.
        rounds: how many rounds the budget takes; a tree's depend on the scores, so on a made-up objective.
        wall_clock_h: if every evaluation took its whole wall-time and none waited in the queue.
        host_hours: if every evaluation took its whole wall-time.
    """

    batch: list[Configuration]
    rounds: int
    wall_clock_h: float
    host_hours: float
    gpu_hours: float


def forecast(spec: StudySpec, profile: ClusterProfile) -> Forecast:
    """Ask for the first batch, and play the study through on a made-up objective."""
    budget = spec.budget.evaluations
    each_h = profile.walltime_min / 60
    if budget is None:
        assert spec.budget.gpu_hours is not None
        budget = max(1, math.ceil(spec.budget.gpu_hours / (each_h * profile.gpus * profile.hosts or each_h)))
    batch = _algorithm(spec.algorithm, spec, profile, budget).ask(min(budget, profile.max_jobs))
    # A surrogate's fits would take minutes here; its tree sweeps about as SOO's does.
    simple = {"bamsoo": "soo"}.get(spec.algorithm)
    widths = _widths(simple or spec.algorithm, spec, profile, budget)
    jobs = budget + spec.include_base
    with_base = [widths[0] + spec.include_base, *widths[1:]]
    waves = sum(math.ceil(width / profile.max_jobs) for width in with_base)
    return Forecast(
        batch=[spec.space.decode(suggestion.point) for suggestion in batch],
        rounds=len(widths),
        wall_clock_h=waves * each_h,
        host_hours=jobs * profile.hosts * each_h,
        gpu_hours=jobs * profile.hosts * profile.gpus * each_h,
    )


def _algorithm(name: str, spec: StudySpec, profile: ClusterProfile, budget: int) -> algorithms.Algorithm:
    options = spec.options if name == spec.algorithm else {}
    capacity = profile.max_jobs
    return algorithms.create(name, spec.space, seed=spec.seed, budget=budget, capacity=capacity, **options)


def _widths(name: str, spec: StudySpec, profile: ClusterProfile, budget: int) -> list[int]:
    algorithm = _algorithm(name, spec, profile, budget)
    widths: list[int] = []
    while sum(widths) < budget and (batch := algorithm.ask(min(profile.max_jobs, budget - sum(widths)))):
        widths.append(len(batch))
        algorithm.tell([Observation(s.id, -sum((u - 0.7) ** 2 for u in s.point)) for s in batch])
    return widths
