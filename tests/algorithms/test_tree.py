from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.algorithms.tree.cells import FINEST, MIDDLE, K, Tree
from orchestrator.space import Point, SearchSpace
from orchestrator.space.space import Choice, Float, Int


def everywhere(axis: int, low: Sequence[float], high: Sequence[float], center: Point) -> bool:
    return True


def leaves(tree: Tree) -> list[int]:
    return [int(node) for node in np.flatnonzero(tree.leaf)]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    tree = Tree(draw(st.integers(1, 4)), everywhere)
    for _ in range(draw(st.integers(0, 25))):
        tree.expand(draw(st.sampled_from(leaves(tree))))
    return tree


@settings(deadline=None)
@given(trees())
def test_leaves_fill_the_cube(tree: Tree) -> None:
    volumes = [Fraction(1, K ** int(tree._level[leaf].sum())) for leaf in leaves(tree)]
    assert sum(volumes) == 1


@settings(deadline=None)
@given(trees())
def test_a_point_lies_in_one_leaf(tree: Tree) -> None:
    point = np.random.default_rng(len(tree)).random(tree._level.shape[1])
    cells = [tree.cell(leaf) for leaf in leaves(tree)]
    assert sum(bool(np.all(low <= point) and np.all(point < high)) for low, high in cells) == 1


@settings(deadline=None)
@given(trees())
def test_children_tile_their_parent_on_its_longest_side(tree: Tree) -> None:
    dimension = tree._level.shape[1]
    for order, node in enumerate(tree.expanded):
        children = range(K * order + 1, K * order + 1 + K)
        low, high = tree.cell(node)
        axis = int(np.argmax(high - low > (high - low).max() * 0.9))
        assert axis == tree.depth[node] % dimension
        edges = [tree.cell(child) for child in children]
        assert np.allclose(edges[0][0], low, atol=1e-15)
        assert np.allclose(edges[-1][1], high, atol=1e-15)
        for (_, before), (after, _) in itertools.pairwise(edges):
            assert before[axis] == after[axis]
        assert tree.center(children[MIDDLE]) == pytest.approx(tree.center(node), abs=1e-15)
        assert {int(tree.depth[child]) for child in children} == {int(tree.depth[node]) + 1}


@settings(deadline=None)
@given(trees())
def test_the_list_of_expansions_is_the_whole_tree(tree: Tree) -> None:
    again = Tree(tree._level.shape[1], everywhere)
    again.replay(tree.expanded)
    assert len(again) == len(tree)
    for name in ("_level", "_index", "_depth", "_leaf", "_open"):
        assert np.array_equal(getattr(again, name)[: len(tree)], getattr(tree, name)[: len(tree)])


def test_best_is_the_oldest_of_the_highest_open_leaves() -> None:
    tree = Tree(2, everywhere)
    assert tree.best(0) is None, "no score yet"
    tree.score[0] = 1.0
    assert tree.best(0) == 0
    tree.expand(0)
    assert tree.best(0) is None
    assert tree.shallowest() == 1
    tree.score[1:4] = [2.0, -math.inf, 2.0]
    assert tree.best(1) == 1
    tree.score[3] = 2.5
    assert tree.best(1) == 3
    assert tree.best(2) is None


def test_a_side_of_one_value_is_never_split() -> None:
    space = SearchSpace({"rank": Int(1, 3), "rate": Float(0, 1), "layer": Choice(("a", "b", "c"))})
    tree = Tree(3, space.divisible)
    node = 0
    for axis in (0, 1, 2, 1, 1):  # after one split each, only the float is left
        children = tree.expand(node)
        parent, child = tree._level[node], tree._level[children[0]]
        assert np.flatnonzero(child - parent).tolist() == [axis]
        node = children[0]


def test_an_axis_is_not_split_where_its_parameter_is_not_there() -> None:
    space = SearchSpace(
        {"m": Float(0, 1, when={"o": "x"}), "o": Choice(("x", "y", "z")), "r": Float(0, 1)}, {"k": 1}
    )
    tree = Tree(3, space.divisible)
    x, y, _ = tree.expand(0)
    assert [tree.center(node)[1] for node in (x, y)] == pytest.approx([1 / 6, 1 / 2])
    for _ in range(4):
        y = tree.expand(y)[0]
    assert tree.center(y)[0] == 0.5
    assert tree.center(y)[2] == pytest.approx(0.5 / 81)
    assert tree.center(tree.expand(x)[0])[0] == pytest.approx(1 / 6)


def test_a_cell_with_no_side_to_split_is_closed() -> None:
    space = SearchSpace({"rank": Int(1, 3)})
    tree = Tree(1, space.divisible)
    tree.expand(0)
    tree.score[1:] = 1.0
    assert tree.leaf[1:].all()
    assert tree.best(1) is None


@pytest.mark.parametrize(
    "parameter",
    [
        *(Int(0, high) for high in (1, 2, 3, 4, 6, 9, 31, 62)),
        *(Int(1, high, log=True) for high in (2, 3, 64, 1000)),
        *(Choice(tuple(range(n))) for n in (2, 3, 4, 5, 7, 10)),
        Choice((True, False, 1, "1")),
    ],
)
def test_splitting_ends_with_every_value_at_a_center(parameter: Int | Choice) -> None:
    space = SearchSpace({"only": parameter})
    tree = Tree(1, space.divisible)
    while open_leaves := [leaf for leaf in leaves(tree) if tree._open[leaf]]:
        tree.expand(open_leaves[0])
    found = {repr(space.decode(tree.center(leaf))["only"]) for leaf in leaves(tree)}
    assert len(found) == parameter.cardinality
    assert len(leaves(tree)) <= 4 * len(found)


def test_sides_end_where_float64_does() -> None:
    tree = Tree(1, everywhere)
    node = 0
    for _ in range(FINEST):
        children = tree.expand(node)
        centers = [tree.center(child)[0] for child in children]
        assert len(set(centers)) == K
        node = children[-1]
    tree.score[node] = 1.0
    assert tree.best(FINEST) is None
