"""Filled sweeps: BaMSOO's tree, and every round filled from the same Gaussian process.

A sweep is narrower than a cluster, at first by far, so a tree alone leaves hosts idle. Here the centers
that a BaMSOO tree wants scored get the first slots of a round, and the process fills the others:

    1  the first n_init points: the root's center, and the widest of 30 Latin hypercubes around it
    2  one fit to the warped scores (`warp`), one to failures if there were any
    3  a share of the slots: centers that wait, first in, first out; if none does, sweeps until one does
    4  one slot: where the posterior mean is highest
    5  the others, one by one: where the expected improvement is, given fantasies of all that is pending

- Scores in the tree are those the process sees. A center waits if U_N ≥ f⁺ when its node is made, with β =
  0.3: the share bounds what the tree may spend, so its bounds need not.
- An evaluation that failed counts as the worst score in the tree; the process does not see it, but every
  slot's value has ln P_ok added (`acquisition.FailureModel`).
- Asynchronous, or with fewer than four slots a round: a turn of `capacity` slots, at least four, takes the
  place of the round. A center goes out while fewer than their share did; the mean has one slot of each
  turn.
- The last round has no centers: what they tell would come too late.
- Nothing has scored yet: uniform random points.

Without its tree the method scores the same within noise (benchmarks/search.py: share = 0). The tree costs
nothing, and gives what people can look at: a partition of the space with what is believed of each cell.

After Wang et al. 2014 (the tree) and Snoek, Larochelle & Adams 2012 (fantasies); the combination is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.algorithms.planned import Planned
from orchestrator.algorithms.surrogate.acquisition import ExpectedImprovement, Value, maximum
from orchestrator.algorithms.surrogate.belief import Belief
from orchestrator.algorithms.tree.bounded import BoundedSweep
from orchestrator.algorithms.tree.sweep import Sweep
from orchestrator.space import Point, SearchSpace
from orchestrator.space.sampling import fresh, maximin

LEAST_DESIGN = 6
LEAST_TURN = 4  # slots of which a share can be given


class FullSweep(Planned):
    """A bounded sweep whose centers wait for a slot, and what is left of the first design."""

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        budget: int,
        capacity: int,
        asynchronous: bool,
        eta: float,
        beta: float,
        share: float,
        fantasies: int,
        n_init: int | None,
        max_free_sweeps: int,
    ) -> None:
        """Args: those of every algorithm, and the fields of `FullSweepOptions`."""
        super().__init__(space, seed=seed, budget=budget, capacity=capacity)
        self.sweep = Sweep(space, self._append)
        self.bounded = BoundedSweep(self.sweep, eta=eta, beta=beta, waits=True)
        self._max_free_sweeps = max_free_sweeps
        self._asynchronous = asynchronous
        self._share, self._fantasies = share, fantasies
        self._n_init = max(capacity, LEAST_DESIGN) if n_init is None else n_init
        self._design: list[Point] | None = None  # None: not drawn yet
        self._centers = 0  # how many centers had a slot
        self._belief: Belief | None = None  # None until an evaluation has succeeded
        self._believed = 0  # how many were told by then

    def enqueue(self, points: Sequence[Point]) -> None:
        """As of every algorithm; what is enqueued stands for its configuration in the tree."""
        super().enqueue(points)
        self.sweep.remember(self._points)

    # -- a round --------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        if not (self._asynchronous or self._is_told):
            return
        planned = len(self._points)
        generator = np.random.default_rng([self.seed, planned])
        # What was enqueued has slots of this round.
        slots = self.capacity - (planned - self._asked)
        slots = 1 if self._asynchronous else min(slots, max(1, self.budget - planned))
        if self.space.cardinality is not None:
            slots = min(slots, self.space.cardinality - len(self.sweep.first))
        if slots < 1:
            return
        end = planned + slots
        if self._design is None:
            size = max(0, self._n_init - 1 - len(self._known))  # what was learnt elsewhere is a design too
            self._design = maximin(self.space, self.sweep.inputs[0], size, generator)
            self.sweep.suggest_root(source="design")
        while self._design and len(self._points) < end:
            self._fill(self._unseen(self._design.pop(0), generator), "design")
        if len(self._points) < end:
            self._settle()
            self._choose(end, generator)

    def _choose(self, end: int, generator: np.random.Generator) -> None:
        """Plan points up to id `end` from what is believed."""
        if self._belief is None:
            while len(self._points) < end:
                self._fill(fresh(self.space, self.sweep.first, generator), "random")
            return
        centers, means = self._due(end)
        self._plan_centers(len(self._points) + centers)
        process = self._belief.process
        for _ in range(min(means, end - len(self._points))):
            self._fill(self._argmax(lambda x: process.latent(x)[0], generator), "mean")
        if len(self._points) == end:
            return
        gain = ExpectedImprovement(
            process,
            [self.space.snap(point) for i, point in enumerate(self._points) if i not in self._told],
            fantasies=self._fantasies,
            seed=int(generator.integers(2**31)),
            slots=end - len(self._points),
        )
        while len(self._points) < end:
            point = self._argmax(gain, generator)
            self._fill(point, "improvement")
            gain.add(self.space.snap(point))

    def _due(self, end: int) -> tuple[int, int]:
        """How many of the slots up to id `end` are for centers, and how many for the highest mean."""
        planned = len(self._points)
        turn = max(self.capacity, LEAST_TURN)
        if not self._asynchronous and turn == self.capacity:
            most = max(1, round(self._share * turn)) if self._share and end < self.budget else 0
            return min(most, end - planned), 1
        centers = means = 0
        for slot in range(planned, end):
            if slot + turn <= self.budget and self._centers + centers < self._share * (slot - turn / 2):
                centers += 1
            elif slot % turn == 0:
                means += 1
        return centers, means

    def _argmax(self, value: Value, generator: np.random.Generator) -> Point:
        assert self._belief is not None
        return maximum(
            self._belief.careful(value), self.space, self._belief.leaders, self.sweep.first, generator
        )

    def _unseen(self, point: Point, generator: np.random.Generator) -> Point:
        known = self.space.snap(point) in self.sweep.first
        return fresh(self.space, self.sweep.first, generator) if known else point

    def _fill(self, point: Point, source: str) -> None:
        self.sweep.first.setdefault(self.space.snap(point), self._append(point, source=source))

    # -- the tree -------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Believe what was told: scores into the tree, the fits, and every bound anew."""
        told = sorted(self._told.items())
        good = [o for _, o in told if o.score is not None]
        failed = [o for _, o in told if o.score is None]
        if self._belief is None or len(told) != self._believed:
            lost = [self.space.snap(self._points[o.id]) for o in failed]
            self._belief = Belief.of(self._scored(), lost, self.space.choices)
            self._believed = len(told)
        if self._belief is None:
            return
        scores = self._belief.scores
        worst = float(scores.min())
        values = np.full(len(self._points), -math.inf)
        values[[o.id for o in good]] = scores[: len(good)]
        values[[o.id for o in failed]] = worst
        self.sweep.carry(values, worst)
        self.bounded.believe(self._belief.process, self._belief.warp.back)

    def _plan_centers(self, end: int) -> None:
        """Plan centers up to id `end`: those that wait, or of the first sweeps in which one is found."""
        waiting = self.bounded.waiting
        for _ in range(self._max_free_sweeps):
            if waiting or len(self._points) >= end or not self.bounded.go_on():
                break
        while waiting and len(self._points) < end:
            self.sweep.suggest(waiting.pop(0), source="center")
            self._centers += 1

    def _state(self) -> dict[str, Any]:
        state = self.bounded.dump()
        bounds = state["tree"]["bounds"]  # in units of u: people are shown scores
        for node, bound in enumerate(bounds):
            shown = self.bounded.shown.get(node, math.inf)
            bounds[node] = shown if bound is not None and math.isfinite(shown) else None
        return {
            **state,
            "queue": list(self.bounded.waiting),
            "centers": self._centers,
            "design": self._design and [list(point) for point in self._design],
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.bounded.load(state, self._points)  # its bounds are in units of scores until the next `_settle`
        shown = {node: bound for node, bound in enumerate(state["tree"]["bounds"]) if bound is not None}
        self.bounded.shown = shown
        self.bounded.waiting, self._centers = list(state["queue"]), state["centers"]
        self._design = state["design"] and [tuple(point) for point in state["design"]]
