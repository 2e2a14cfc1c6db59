"""Tree-structured Parzen estimator (Bergstra, Bardenet, Bengio & Kégl 2011, NeurIPS 24).

The observations are split by score into a good few and the rest, each is given a density, l and g, and the
next point is, of some draws from l, the one with the highest l/g. The estimators are other people's programs,
called as functions of what is known and a seed: nothing of theirs outlives a call, so there is no state of
theirs to write down, and neither the order of tells nor the process can matter.

- `optuna`: Optuna's sampler, one joint density over all axes (Falkner et al. 2018, BOHB, section 3.2) and
  pending points counted among the bad ones, which keeps a batch apart.
- `nni`: the published one, an independent density per axis, pending points counted as good as the best score
  (Ginsbourger et al. 2010, the constant liar); see `tpe_nni`.

Where we differ from either: no configuration is suggested twice, and none that breaks a constraint. Instead
of such a draw another is made, by Optuna with the refused ones pending too, which moves it away from them;
after `_DRAWS` in all a uniform one among the configurations left. Once there are none the search is over.
What other studies scored counts as suggested until nothing else is left. Failed points are left out of the
history: both estimators look past them. A parameter that is not there keeps its axis, with values that mean
nothing.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from orchestrator.algorithms.planned import Planned
from orchestrator.algorithms.wrapped import tpe_nni, tpe_optuna
from orchestrator.space import Point, SearchSpace
from orchestrator.space.sampling import listing

_DRAWS = 5
_UNIFORM_DRAWS = 1000
_LISTED = 100_000  # configurations; no study gets through more

History = list[tuple[Point, float | None]]  # with the score, None while pending; oldest first


class TPE(Planned):
    """In rounds of the capacity, enqueued points included, each from what all earlier rounds have shown.

    Asynchronous: one point at a time, from what is known when it is asked for.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        budget: int,
        capacity: int,
        engine: str,
        asynchronous: bool,
        n_init: int,
    ) -> None:
        super().__init__(space, seed=seed, budget=budget, capacity=capacity)
        if engine == "nni":
            tpe_nni.check()
        self._draw = {"optuna": tpe_optuna.draw, "nni": tpe_nni.draw}[engine]
        self._asynchronous = asynchronous
        self._n_init = n_init

    def _plan(self) -> None:
        planned = len(self._points)
        if self._asynchronous:
            start, end = planned, planned + 1
        else:
            start = planned // self.capacity * self.capacity  # of the round that the next id belongs to
            end = start + self.capacity
            if any(i not in self._told for i in range(start)):
                return
        history: History = [(one.point, one.score) for one in self._known]
        for i, point in enumerate(self._points):
            if i >= start or i not in self._told:
                history.append((point, None))
            elif (score := self._told[i].score) is not None:
                history.append((point, score))
        for point in self._distinct(history, min(end, self.budget) - planned):
            self._append(point)

    def _distinct(self, history: History, count: int) -> list[Point]:
        """Feasible points of `count` configurations that were never planned; of fewer if no more are left."""
        planned = {self.space.snap(point) for point in self._points}
        seen = planned | {self.space.snap(one.point) for one in self._known}
        fresh: dict[Point, Point] = {}  # snapped -> as drawn
        refused: list[Point] = []
        seeds = np.random.SeedSequence((self.seed, len(self._points)))
        listed = self._listing and [point for point in self._listing if point not in seen]
        draws = 0 if listed is not None and len(listed) <= count else _DRAWS
        for seed in seeds.generate_state(draws).tolist():
            if len(fresh) == count:
                break
            # To NNI a pending point is a good one: it would be drawn there again.
            pending = [*fresh.values(), *(refused if self._draw is tpe_optuna.draw else ())]
            known: History = [*history, *((point, None) for point in pending)]
            for point in self._draw(self.space, known, count - len(fresh), seed=seed, n_init=self._n_init):
                snapped = self.space.snap(point)
                if snapped in seen or snapped in fresh or not self.space.feasible(point):
                    refused.append(point)
                else:
                    fresh[snapped] = point
        generator = np.random.default_rng(seeds.spawn(1)[0])
        while len(fresh) < count:
            left = self._unseen(seen.union(fresh), generator) or self._unseen(planned.union(fresh), generator)
            if left is None:
                break
            fresh[self.space.snap(left)] = left
        return list(fresh.values())

    def _unseen(self, seen: set[Point], generator: np.random.Generator) -> Point | None:
        """A uniform draw from what is not `seen`; None if nothing is left, or too little to be met with."""
        if self._listing is not None:
            left = [point for point in self._listing if point not in seen]
            return left[int(generator.integers(len(left)))] if left else None
        for _ in range(_UNIFORM_DRAWS):
            (point,) = self.space.sample(generator, 1)
            if self.space.snap(point) not in seen:
                return point
        return None

    @cached_property
    def _listing(self) -> list[Point] | None:
        return listing(self.space, _LISTED)
