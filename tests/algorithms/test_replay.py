"""The tree searches of Davouse 2025, replayed from the record of its evaluations, and what a right tree does.

The quirks of the published code, each of which the record shows:

- A child has "the same center" as its parent, and its score without an evaluation, if the converted values
  (ranks cut to whole numbers, rates as 10^x) differ by less than 1e-4 in all: 1e-8.5 and 1e-5.5 do.
- The side to split is the longest as computed in natural units, so rounding decides between equal sides.
- The budget is looked at once a sweep.

A bound is the record's LCB. What η = 1 and N = len(tree) did to it cannot be told from that.
"""

from __future__ import annotations

import csv
import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from orchestrator.algorithms import Observation, create
from orchestrator.algorithms.tree.cells import MIDDLE, K, Tree
from orchestrator.space import SearchSpace
from orchestrator.space.space import Float
from tests.fakes.shared_data import shared_data

Array = npt.NDArray[np.float64]
RANKS = {"soo_bis": 64, "bamsoo_bis": 64, "soo": 512}  # run -> highest rank; "_bis": the 1B model, else 3B


def sides_of(run: str) -> dict[str, tuple[float, float]]:
    """The published search space, rates as exponents."""
    return {
        "rank": (2, RANKS[run]),
        "alpha": (1, 64),
        "dropout": (0, 0.5),
        "lr": (-10, -1),
        "wd": (-5, -1),
    }


@dataclass(frozen=True)
class Visit:
    """A row of the record."""

    point: Array  # (5,) in the units of `sides_of`
    whole: tuple[int, int]  # rank and alpha as they were trained
    evaluated: bool
    score: float  # accuracy on HellaSwag, or the LCB
    upper: float  # UCB; NaN if evaluated


def record_of(run: str) -> list[Visit]:
    with shared_data("davouse2025.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["run"] == run]
    visits = []
    for row in rows:
        evaluated = row["score_state"] == "evaluated"
        visits.append(
            Visit(
                np.array([float(row[f"b_{name}"]) for name in sides_of(run)]),
                (int(row["rank"]), int(row["alpha"])),
                evaluated,
                float(row["hs"] if evaluated else row["LCB"]),
                float(row["UCB"] or "nan"),
            )
        )
    return visits


class LeftRecord(Exception):
    """The tree wants a point that is not the record's next."""


class RoundedTree(Tree):
    """Splits the longest side as computed in natural units, the first of equals."""

    def __init__(self, low: Array, high: Array) -> None:
        self._whole = high - low
        self._edges = [(low, high)]  # node -> corners of its cell
        super().__init__(len(low), lambda *_: True)

    def expand(self, node: int) -> range:
        axis = self._side(node)
        low, high = self._edges[node]
        for side in itertools.pairwise(np.linspace(low[axis], high[axis], K + 1)):
            self._edges.append((low.copy(), high.copy()))
            for corner, edge in zip(self._edges[-1], side, strict=True):
                corner[axis] = edge
        return super().expand(node)

    def _side(self, node: int) -> int:
        low, high = self._edges[node]
        return int(np.argmax((high - low) / self._whole))


class Published:
    """The published search as a tree of ours with its quirks, each of which can be put right."""

    def __init__(
        self,
        run: str,
        *,
        same_by_value: bool = True,
        axis_by_rounding: bool = True,
        frozen: bool = True,
        exact_budget: bool = False,
    ) -> None:
        self.record = record_of(run)
        self.visited = 0
        self.wrongly_inherited = 0
        self._same_by_value, self._frozen, self._exact_budget = same_by_value, frozen, exact_budget
        self._low, self._high = np.array(list(sides_of(run).values()), dtype=float).T
        self._tree = (
            RoundedTree(self._low, self._high) if axis_by_rounding else Tree(len(self._low), lambda *_: True)
        )

    def play(self, budget: int = 50) -> None:
        """Sweep until the budget is spent.

        Raises:
            LeftRecord: at the first point that is not the record's next.
        """
        self._tree.score[0] = self._score(0)
        while self.evaluated < budget:
            best, depth = -math.inf, 0
            deepest = int(self._tree.depth.max())
            while depth <= (deepest if self._frozen else int(self._tree.depth.max())):
                node = self._tree.best(depth)
                depth += 1
                if node is None or self._tree.score[node] <= best:
                    continue
                best = float(self._tree.score[node])
                for index, child in enumerate(self._tree.expand(node)):
                    if self._same(node, child) if self._same_by_value else index == MIDDLE:
                        self._tree.score[child] = best
                        self.wrongly_inherited += index != MIDDLE
                    else:
                        self._tree.score[child] = self._score(child)
                    if self._exact_budget and self.evaluated == budget:
                        return

    @property
    def evaluated(self) -> int:
        return sum(visit.evaluated for visit in self.record[: self.visited])

    def _score(self, node: int) -> float:
        point = self._natural(node)
        if self.visited == len(self.record) or not np.allclose(self.record[self.visited].point, point):
            raise LeftRecord(self.visited, point.tolist())
        self.visited += 1
        return self.record[self.visited - 1].score

    def _natural(self, node: int) -> Array:
        natural: Array = self._low + np.array(self._tree.center(node)) * (self._high - self._low)
        return natural

    def _same(self, parent: int, child: int) -> bool:
        a, b = (converted(self._natural(node)) for node in (parent, child))
        return bool(np.abs(a - b).sum() < 1e-4)


def converted(point: Array) -> Array:
    rank, alpha, dropout, lr, wd = point.tolist()
    return np.array([int(rank), int(alpha), dropout, 10**lr, 10**wd])


@pytest.mark.parametrize(
    ("run", "visits", "evaluations", "wrong"),
    [("soo_bis", 51, 51, 6), ("bamsoo_bis", 68, 52, 9), ("soo", 50, 50, 7)],
)
def test_with_its_quirks_the_tree_visits_what_the_published_code_did(
    run: str, visits: int, evaluations: int, wrong: int
) -> None:
    published = Published(run)
    published.play()
    assert len(published.record) == published.visited == visits
    assert published.evaluated == evaluations
    assert published.wrongly_inherited == wrong


@pytest.mark.parametrize("run", RANKS)
@pytest.mark.parametrize("mended", [{"same_by_value": False}, {"axis_by_rounding": False}, {"frozen": False}])
def test_without_one_of_its_quirks_it_does_not(run: str, mended: dict[str, bool]) -> None:
    published = Published(run, **mended)
    with pytest.raises(LeftRecord):
        published.play()
    assert 5 <= published.visited < 45


@pytest.mark.parametrize("run", RANKS)
def test_an_exact_budget_ends_within_the_last_sweep(run: str) -> None:
    published = Published(run, exact_budget=True)
    published.play()
    assert published.evaluated == 50


@pytest.mark.parametrize("run", RANKS)
def test_the_record_holds_to_its_rules(run: str) -> None:
    """Whole numbers by cutting; no evaluation where the UCB lies below the best score so far."""
    best = -math.inf
    for visit in record_of(run):
        assert tuple(converted(visit.point)[:2]) == visit.whole
        if visit.evaluated:
            best = max(best, visit.score)
        else:
            assert visit.upper < best


@pytest.mark.parametrize("run", ["soo_bis", "bamsoo_bis"])
def test_the_right_tree_leaves_the_record_where_a_wrong_score_was_inherited(run: str) -> None:
    """The first evaluation that the published code saved: lr 1e-8.5 has not the score of 1e-5.5."""
    space = SearchSpace({name: Float(low, high) for name, (low, high) in sides_of(run).items()})
    algorithm = create("soo", space, seed=0, budget=50, capacity=8)
    record = record_of(run)
    for visits in itertools.count():
        (suggestion,) = algorithm.ask(1)
        point = list(space.decode(suggestion.point).values())
        if point != pytest.approx(record[visits].point):
            break
        algorithm.tell([Observation(suggestion.id, record[visits].score)])
    assert visits == 13
    assert point == pytest.approx([53.6667, 11.5, 0.25, -8.5, -3], abs=1e-4)
