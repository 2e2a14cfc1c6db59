"""What a study would do, and at most cost, before anything is submitted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator import algorithms
from orchestrator.algorithms import Observation, Suggestion
from orchestrator.config import ClusterProfile, StudySpec
from orchestrator.contract.assignment import Configuration
from orchestrator.preflight.beginning import begin, new_algorithm

# A model's fits would take minutes here: BaMSOO sweeps about as SOO does, the others fill the slots.
_SIMPLE = {"bamsoo": "soo", "fullsweep": "random", "bo": "random", "tpe": "random", "mads": "random"}


@dataclass(frozen=True)
class Forecast:
    """What a study would do, and at most cost.

    Attributes:
        batch: configurations of the first ask.
        waves: how often the slots fill up if every evaluation takes equally long; a tree's depend on the
            scores, so on a made-up objective.
        wall_clock_h: if every evaluation took its whole wall-time and none waited in the queue.
        host_hours: if every evaluation took its whole wall-time.
    """

    batch: list[Configuration]
    waves: int
    wall_clock_h: float
    host_hours: float
    gpu_hours: float


def forecast(spec: StudySpec, profile: ClusterProfile) -> Forecast:
    """Ask for the first batch, and play the study through on a made-up objective.

    Raises:
        InputError: the algorithm, or a study to start from, cannot be used.
    """
    budget = spec.budget.evaluations
    each_h = profile.walltime_min / 60
    if budget is None:
        assert spec.budget.gpu_hours is not None
        gpus = profile.gpus * profile.hosts // profile.trials_per_job
        budget = max(1, math.ceil(spec.budget.gpu_hours / (each_h * gpus or each_h)))
    algorithm = _algorithm(spec.algorithm, spec, profile, budget)
    begin(algorithm, spec)
    batch = algorithm.ask(min(budget, profile.slots))
    waves = _waves(_SIMPLE.get(spec.algorithm, spec.algorithm), spec, profile, budget)
    jobs = math.ceil((budget + spec.include_base) / profile.trials_per_job)
    return Forecast(
        batch=[spec.space.decode(suggestion.point) for suggestion in batch],
        waves=waves,
        wall_clock_h=waves * each_h,
        host_hours=jobs * profile.hosts * each_h,
        gpu_hours=jobs * profile.hosts * profile.gpus * each_h,
    )


def _algorithm(name: str, spec: StudySpec, profile: ClusterProfile, budget: int) -> algorithms.Algorithm:
    capacity = profile.slots
    if name == spec.algorithm:
        return new_algorithm(spec, budget=budget, capacity=capacity)
    return algorithms.create(name, spec.space, seed=spec.seed, budget=budget, capacity=capacity)


def _waves(name: str, spec: StudySpec, profile: ClusterProfile, budget: int) -> int:
    """How often the slots fill up, as the master fills them."""
    algorithm = _algorithm(name, spec, profile, budget)
    # Only a batch that a person chose narrower than the slots leaves some free.
    slots = min(profile.slots, spec.options.get("batch") or profile.slots)
    waiting: list[Suggestion | None] = [None] * spec.include_base
    waves, left = 0, budget
    while True:
        free = slots - len(waiting) if waves else slots  # the base model is asked beside the first
        batch = algorithm.ask(min(free, left)) if min(free, left) > 0 else []
        left -= len(batch)
        waiting += batch
        if not waiting:
            return waves
        waves += 1
        done, waiting = waiting[:slots], waiting[slots:]
        scored = (suggestion for suggestion in done if suggestion is not None)
        algorithm.tell([Observation(s.id, -sum((u - 0.7) ** 2 for u in s.point)) for s in scored])
