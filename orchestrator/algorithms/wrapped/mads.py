"""Mesh adaptive direct search (Audet & Dennis 2006) by NOMAD 4 (Audet et al. 2022), in processes of its own.

A run: some points that fill the space, the center first among the first; then NOMAD from the best of them,
in blocks of whatever it wants evaluated next, each planned when all before it is told. When its mesh is
exhausted the next run follows. NOMAD's own interface for this, `suggest` and `observe` with a cache file,
forgets between two blocks which directions succeeded, and ends as soon as it has nothing new. So here NOMAD's
whole search repeats itself in a fresh process from what is known, up to the first block that is not: the
points are those of an uninterrupted search.

Whatever NOMAD does wrong costs some uniform points, noted as {"source": "fallback"}, and the run: the next
one starts from everything known.

Integers are whole numbers to NOMAD; those on a log scale the unit interval, of which many points are the
same configuration: it is asked for once, and NOMAD is answered from memory. Choices are whole numbers in the
order of their options, an order that MADS takes for real: it is a method for numbers. Noise is ignored: the
best score is believed. NOMAD takes losses within 1e-13 of one another as equal.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from orchestrator.algorithms.planned import Planned
from orchestrator.algorithms.wrapped import nomad
from orchestrator.space import Point, SearchSpace
from orchestrator.space.sampling import latin_hypercube, listing
from orchestrator.space.space import Choice, Float, Int

nomad.library()  # whoever lacks it learns so here, not in the first round
_SEEDS = 1 << 16  # NOMAD draws as many numbers before it begins
_DRAWS = 1 << 10  # uniform points in a row that bring nothing new


class MADS(Planned):
    """NOMAD's blocks, negated once: it minimizes."""

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        budget: int,
        capacity: int,
        n_init: int | None,
        sequential: bool,
    ) -> None:
        """Args: see `Algorithm` and `MADSOptions`."""
        super().__init__(space, seed=seed, budget=budget, capacity=capacity)
        self._n_init = n_init or (1 if sequential else max(capacity, 6))
        self._sequential = sequential
        self._begun = False  # the first design is planned
        self._since = 0  # ids that the next run may start from; 0: what was learnt, too
        self._run: dict[str, Any] | None = None  # start: points; seed; first: the id planned first

    def _plan(self) -> None:
        if not self._begun:
            self._begun = True
            first = self._n_init - len(self._points) - len(self._known)
            self._design(first, center=True)
        if not self._settled:
            return
        if self._run is not None and self._surpassed(self._run):
            self._run, self._since = None, 0
        if self._run is None:
            start = self._ranked(self._since)
            if not start:  # all failed
                self._design(self._n_init)
                return
            seed = int(self._generator().integers(_SEEDS))
            self._run = {
                "start": [list(point) for point, _ in start],
                "seed": seed,
                "first": len(self._points),
            }
        self._go_on(self._run)

    def _go_on(self, run: dict[str, Any]) -> None:
        """Plan NOMAD's next block."""
        memory = self._memory()

        def answer(block: nomad.Block) -> list[float | None] | None:
            keys = [self.space.snap(point) for point in map(self._point, block) if self.space.feasible(point)]
            if any(key not in memory for key in keys):
                return None
            return [memory.get(self.space.snap(point)) for point in map(self._point, block)]

        try:
            block = nomad.next_block(self._nomad_run(run), answer)
        except nomad.NomadFailed as error:
            self._run, self._since = None, 0
            for point in self._unseen(self.capacity, []):
                self._append(point, source="fallback", why=str(error))
            return
        if block is None:
            self._run, self._since = None, len(self._points)
            self._design(self._n_init)
            return
        for point in map(self._point, block):
            key = self.space.snap(point)
            if key not in memory and self.space.feasible(point):
                memory[key] = None
                self._append(point, source="nomad")

    def _generator(self) -> np.random.Generator:
        """Of whatever is planned now: there is no more to its state than how many points are planned."""
        return np.random.default_rng([self.seed, len(self._points)])

    def _nomad_run(self, run: dict[str, Any]) -> nomad.Run:
        start = dict.fromkeys(tuple(self._coordinates(point)) for point in run["start"])
        return nomad.Run(
            upper=[1.0 if axis is None else float(len(axis.values) - 1) for axis in self._whole],
            integer=[axis is not None for axis in self._whole],
            start=[list(x) for x in start],
            seed=run["seed"],
            parallel=not self._sequential,
        )

    @property
    def _whole(self) -> list[Int | Choice | None]:
        """The axes that are whole numbers to NOMAD; None: it gets the unit interval."""
        return [
            None if isinstance(axis, Float) or (isinstance(axis, Int) and axis.log) else axis
            for axis in self.space.parameters.values()
        ]

    def _coordinates(self, point: Iterable[float]) -> list[float]:
        """NOMAD's name for a point."""
        axes = zip(self._whole, point, strict=True)
        return [x if axis is None else float(axis.position(axis.decode(x))) for axis, x in axes]

    def _point(self, coordinates: Iterable[float]) -> Point:
        axes = zip(self._whole, coordinates, strict=True)
        return tuple(x if axis is None else axis.encode(axis.values[int(x)]) for axis, x in axes)

    def _ranked(self, since: int) -> list[tuple[Point, float]]:
        """What has a score, the best first, of the same score the oldest."""
        learnt = [(one.point, one.score) for one in self._known if since == 0]
        told = [(self._points[i], o.score) for i, o in sorted(self._told.items()) if i >= since]
        scored = learnt + [(point, score) for point, score in told if score is not None]
        return sorted(scored, key=lambda pair: -pair[1])

    def _surpassed(self, run: dict[str, Any]) -> bool:
        """True if a point enqueued during the run is the best of all: the next starts from everything."""
        scores = {i: o.score for i, o in self._told.items() if o.score is not None}
        best = max(scores, key=lambda i: (scores[i], -i), default=-1)
        return best >= run["first"] and best in self._enqueued

    def _memory(self) -> dict[Point, float | None]:
        """Loss by configuration, None where it failed; of several scores the first."""
        told = [(self._points[i], o.score) for i, o in sorted(self._told.items())]
        pairs = [*((one.point, one.score) for one in self._known), *told]
        memory: dict[Point, float | None] = {}
        for point, score in pairs:
            key = self.space.snap(point)
            if memory.get(key) is None:
                memory[key] = None if score is None else -score
        return memory

    def _design(self, size: int, *, center: bool = False) -> None:
        """Plan up to `size` points that fill the space."""
        middle: Point = (0.5,) * self.space.dimension
        first = [middle] if center and self.space.feasible(middle) else []
        rest = max(size - len(first), 0)
        for point in self._unseen(size, first + latin_hypercube(self.space, rest, self._generator())):
            self._append(point, source="design")

    def _unseen(self, size: int, wanted: list[Point]) -> list[Point]:
        """Up to `size` configurations never asked for: `wanted`, then uniform; fewer if no more are left."""
        seen = {self.space.snap(point) for point in [*self._points, *(one.point for one in self._known)]}
        generator = self._generator()
        uniform = (self.space.sample(generator, 1)[0] for _ in itertools.count())
        found: list[Point] = []
        misses = 0
        for point in itertools.chain(wanted, uniform):
            if len(found) >= size or misses >= _DRAWS or len(seen) == self.space.cardinality:
                break
            key = self.space.snap(point)
            misses = misses + 1 if key in seen else 0
            found += [] if key in seen else [point]
            seen.add(key)
        if misses >= _DRAWS:
            left = [point for point in listing(self.space) or () if point not in seen]
            found += [left[i] for i in generator.permutation(len(left))[: size - len(found)]]
        return found

    def _state(self) -> dict[str, Any]:
        return {"begun": self._begun, "since": self._since, "run": self._run}

    def _restore(self, state: dict[str, Any]) -> None:
        self._begun, self._since, self._run = state["begun"], state["since"], state["run"]
