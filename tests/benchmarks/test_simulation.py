"""The comparison of searches: its problems, its simulated cluster, its record."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks import emulator, lora_family, search
from benchmarks.problem import Problem
from benchmarks.problems import GROUPS, PROBLEMS, problem, random_regrets
from benchmarks.searchers import PEERS, Method, Setting
from benchmarks.simulation import Study, simulate, utilization
from orchestrator.algorithms import ALGORITHMS, Observation
from orchestrator.contract.assignment import Configuration
from orchestrator.space import SearchSpace
from orchestrator.space.space import Float
from tests.fakes.shared_data import shared_data

# The others come with the extras that CI installs.
EXTRA = {"ax": "ax", "smac": "smac"}
METHODS = [*ALGORITHMS, *(name for name in PEERS if importlib.util.find_spec(EXTRA.get(name, "numpy")))]


@pytest.mark.parametrize("name", PROBLEMS)
def test_nothing_beats_the_stated_optimum(name: str) -> None:
    """Neither uniform points nor ever smaller steps from the best configuration, which attains it."""
    for seed in range(4 if name in lora_family.VARIANTS else 1):
        one = problem(name, seed)
        (attained,) = one.values([one.best])
        assert attained == pytest.approx(one.optimum, rel=1e-12, abs=1e-12)
        rng = np.random.default_rng(seed)
        steps = 10 ** rng.uniform(-6, -0.5, (2000, 1)) * rng.standard_normal((2000, one.space.dimension))
        near = np.clip(np.array(one.space.encode(one.best)) + steps, 0, 1)
        points = [*rng.random((2000, one.space.dimension)), *near]
        found = one.values([one.space.decode(tuple(point.tolist())) for point in points])
        best = max(one.sign * value for value in found if value is not None)
        assert best <= one.sign * one.optimum + 1e-9 * max(1.0, abs(one.optimum))


def test_every_problem_is_in_its_group() -> None:
    assert {name: problem(name, 0).group for name in PROBLEMS} == {
        name: group for group, names in GROUPS.items() for name in names
    }


def lora(seed: int) -> tuple[lora_family.Member, Configuration]:
    return lora_family.Member.draw(seed, ()), dict(problem("lora-clean", seed).best)


@pytest.mark.parametrize("seed", range(5))
def test_lora_diverges_beyond_the_cliff_and_is_bad_before_it(seed: int) -> None:
    member, best = lora(seed)
    best |= {"rank": 8, "alpha": 32}
    top, ratio = member.ridge(best)
    scores = [
        member.score(best | {"lr": 10 ** (top - member.scaling * ratio + member.cliff + step)})
        for step in (-member.cliff, -0.02, 0.02)
    ]
    assert scores[0] is not None
    assert scores[1] is not None
    assert scores[0] - scores[1] > 0.7 * (scores[0] - lora_family.CHANCE)
    assert scores[2] is None


@pytest.mark.parametrize("seed", range(5))
def test_lora_has_a_ridge(seed: int) -> None:
    """With alpha 16 times as large the best lr is lower by 16 to the power of the scaling."""
    member, best = lora(seed)
    rates = np.linspace(-6, -1, 2001)
    tops = []
    for alpha in (4, 64):
        scores = [member.score(best | {"rank": 8, "alpha": alpha, "lr": 10**rate}) for rate in rates]
        tops.append(rates[np.argmax([-math.inf if score is None else score for score in scores])])
    assert tops[0] - tops[1] == pytest.approx(member.scaling * math.log10(16), abs=0.01)


def test_lora_members_differ_and_repeat() -> None:
    optima = {problem("lora-noisy", seed).optimum for seed in range(5)}
    assert len(optima) == 5
    assert lora_family.member("lora-noisy", 3).best == problem("lora-noisy", 3).best


@pytest.mark.parametrize("name", ["lora-noisy", "lora-heavy", "lora-hosts"])
def test_noise_and_host_failures_are_as_stated(name: str) -> None:
    one = problem(name, 0)
    seen = [one.evaluate(one.best, seed=0, trial=trial) for trial in range(1000)]
    assert seen[5] == one.evaluate(one.best, seed=0, trial=5)
    scores = [score for score, _ in seen if score is not None]
    assert one.stderr is not None
    assert np.std(scores) == pytest.approx(one.stderr, rel=0.1)
    assert np.mean(scores) == pytest.approx(one.optimum, abs=4 * one.stderr / math.sqrt(len(scores)))
    assert 1 - len(scores) / 1000 == pytest.approx(one.host_failures, abs=0.03)
    assert {regret for _, regret in seen} <= {0.0, None}


def test_random_regrets() -> None:
    """On f = x over [0, 1] the best of 50 is 1/51 in the mean, and any point 1/2."""
    line = Problem(
        "line",
        "test",
        SearchSpace({"x": Float(0, 1)}),
        "minimize",
        0.0,
        {"x": 0.0},
        lambda configurations: [float(c["x"]) for c in configurations],
    )
    best_of_50, one = line.random_regrets()
    assert best_of_50 == pytest.approx(1 / 51, rel=0.15)
    assert one == pytest.approx(1 / 2, rel=0.02)
    assert random_regrets("branin", 3) == random_regrets("branin", 0)


def test_the_emulator_generalizes() -> None:
    shared_data("davouse2025.csv")
    assert emulator.r_squared() == pytest.approx(0.79, abs=0.03)


@pytest.mark.parametrize("method", METHODS)
def test_three_rounds_of_every_method(method: str) -> None:
    one = problem("lora-hosts", 2)
    searcher = Method.parse(method).build(Setting(one.space, 0, 18, 6))
    study = simulate(searcher, one, hosts=6, budget=18, seed=2)
    assert len(study.scores) == 18
    assert len(study.seen) > 12
    assert all(1 <= size <= 6 for size in study.rounds)


class Scripted:
    """Asks for one point after another, and notes when it was told what."""

    def __init__(self) -> None:
        self.log: list[list[int]] = []

    def ask(self, limit: int) -> list[Configuration]:
        self.log.append([limit])
        return [{"u": 0.5, "x0": 0.0, "x1": 1.0}] * limit

    def tell(self, observations: Sequence[Observation]) -> None:
        self.log.append([o.id for o in observations])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_rounds_wait_for_all_and_asynchronous_asks_for_none(asynchronous: bool) -> None:
    searcher = Scripted()
    study = simulate(
        searcher,
        problem("branin", 0),
        hosts=3,
        budget=7,
        seed=0,
        asynchronous=asynchronous,
        durations="lognormal",
    )
    assert len(study.scores) == 7
    assert len(study.seen) == 1
    if asynchronous:
        assert study.rounds == [3, 1, 1, 1, 1]
        first, second = np.argsort(study.ended[:3])[:2].tolist()
        assert searcher.log[:3] == [[3], [first], [1]]
        assert study.started[3] == study.ended[first]
        assert study.started[4] == min(study.ended[second], study.ended[3])
    else:
        assert study.rounds == [3, 3, 1]
        assert study.started == [0.0] * 3 + [max(study.ended[:3])] * 3 + [max(study.ended[:6])]
        assert sorted(searcher.log[1]) == [0, 1, 2]


def test_a_point_outside_the_space_is_no_evaluation() -> None:
    class Outside(Scripted):
        def ask(self, limit: int) -> list[Configuration]:
            return [{"x0": 11.0, "x1": 1.0}] * limit

    with pytest.raises(RuntimeError, match=r"x0: 11.0 is not a number in \[-5, 10\]"):
        simulate(Outside(), problem("branin", 0), hosts=2, budget=4, seed=0)


def test_utilization() -> None:
    """Of two hosts one works from 0 to 2 and 2 to 5, the other from 0 to 1 only."""
    whole, to_last_start = utilization([0, 0, 2], [2, 1, 5], 2)
    assert whole == pytest.approx(6 / 10)
    assert to_last_start == pytest.approx(3 / 4)


def test_methods_as_they_are_written() -> None:
    method = Method.parse("fullsweep:beta=.5,asynchronous=true")
    assert (method.name, method.asynchronous) == ("fullsweep", True)
    assert Method.parse("bo:kernel=rbf,n_init=4").options == {"kernel": "rbf", "n_init": 4}
    assert Method.parse("lhs:asynchronous=true").options == {}, "an algorithm that needs no such option"
    with pytest.raises(ValueError, match="no method 'fulsweep'"):
        Method.parse("fulsweep")
    with pytest.raises(ValueError, match="'beta' is not option=value"):
        Method.parse("fullsweep:beta")


def test_a_list_of_methods_is_cut_before_their_names() -> None:
    assert search.method_list("lhs,bo:n_init=6,kernel=rbf,ax:asynchronous=true,soo") == [
        "lhs",
        "bo:n_init=6,kernel=rbf",
        "ax:asynchronous=true",
        "soo",
    ]


def command(out: Path, methods: str = "lhs,random") -> list[str]:
    words = f"--problems branin --methods {methods} --q 4 --budget 8 --seeds 2 --workers 1 --out".split()
    return [*words, str(out)]


def test_what_is_finished_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "studies.jsonl"
    assert search.main(command(tmp_path)) == 0
    first = record.read_text()
    assert len(first.splitlines()) == 4
    assert search.main(command(tmp_path)) == 0
    assert record.read_text() == first
    assert "4 of them already" in capsys.readouterr().out
    record.write_text(first[:-40])  # an interruption while the last line was written
    assert search.main(command(tmp_path)) == 0
    lines = search.read(record)
    assert len(lines) == 4
    assert lines[-1]["regrets"] == json.loads(first.splitlines()[-1])["regrets"]
    assert (tmp_path / "regret.png").stat().st_size > 10_000


def test_what_is_not_known_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        search.main(["--group", "publik", "--out", str(tmp_path)])
    assert "no group 'publik' (known: public, other, lora" in capsys.readouterr().err
    assert search.main(command(tmp_path, "fulsweep")) == 1
    assert "no method 'fulsweep'" in capsys.readouterr().err


def test_a_study_records_json() -> None:
    recorded = Study(scores=[None, 0.1], regrets=[None, 0.3], started=[0, 0], ended=[1, 1]).record()
    assert json.loads(json.dumps(recorded, allow_nan=False)) == recorded
