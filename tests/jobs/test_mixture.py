"""What is held out, and mixtures: laws that no order of files changes."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.data.instructions import Instruction
from jobs.data.mixture import line, mixed, split
from jobs.prepare.sources import gather
from orchestrator.contract import LitGPTEvaluation
from orchestrator.contract.files import dumps
from orchestrator.errors import InputError

texts = st.lists(st.text("abc", max_size=3), min_size=1, max_size=40)


def some(words: list[str]) -> list[Instruction]:
    return [{"instruction": word, "input": "", "output": "x"} for word in words]


def names(instructions: list[Instruction]) -> list[str]:
    return [one["instruction"] for one in instructions]


@given(words=texts, more=texts, fraction=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_an_instruction_stays_on_its_side(
    words: list[str], more: list[str], fraction: float, seed: int
) -> None:
    many = some(words)
    train, val = split(many, fraction)
    assert Counter(names(train + val)) == Counter(words)
    assert not set(names(train)) & set(names(val))
    assert val
    assert bool(train) is (len(set(words)) > 1)
    random.Random(seed).shuffle(many)
    assert split(many, fraction) == (train, val)
    wider = split(some([*words, *more, *(f"{n}" for n in range(400))]), fraction)
    within = [set(names(part)) & set(words) for part in wider]
    # Where few are split, one on each side is ensured; of many, each goes where its text says.
    assert within[0] | within[1] == set(words)
    if len(train) > 1 < len(val) and 0.1 < fraction < 0.9 and len(set(words)) > 20:
        assert within == [set(names(train)), set(names(val))]


def test_about_the_fraction_is_held_out() -> None:
    train, val = split(some([str(n) for n in range(4000)]), 0.05)
    assert 150 < len(val) < 250
    assert len(train) + len(val) == 4000
    assert names(train) == names(line(train)) != sorted(names(train))


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.05, 20.0), min_size=4, max_size=4),
)
def test_every_beginning_of_a_mixture_is_mixed(sizes: list[int], weights: list[float]) -> None:
    parts = [some([f"{which}-{n}" for n in range(size)]) for which, size in enumerate(sizes)]
    used = weights[: len(sizes)]
    found = names(mixed(parts, used))
    assert len(set(found)) == len(found)
    total = sum(used)
    whole = min(size * total / weight for size, weight in zip(sizes, used, strict=True))
    for which, weight in enumerate(used):
        kept = [name for name in found if name.startswith(f"{which}-")]
        assert kept == [f"{which}-{n}" for n in range(len(kept))]  # each part from its beginning
        assert abs(len(kept) - whole * weight / total) <= 0.51
    for count in range(1, len(found)):
        seen = Counter(name[0] for name in found[:count])
        for which, weight in enumerate(used):
            assert abs(seen[str(which)] - count * weight / total) < len(used)


def asked(directory: Path, data: Any, **changes: Any) -> LitGPTEvaluation:
    section = {"kind": "litgpt", "model": "demo", "data": data, "epochs": 1, "val_fraction": 0.2, **changes}
    return LitGPTEvaluation.model_validate(section)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    for name, count in (("a", 300), ("b", 100), ("one", 1)):
        (tmp_path / name).write_text(dumps(some([f"{name}-{n}" for n in range(count)])))
    return {name: str(tmp_path / name) for name in ("a", "b", "one", "none")}


def test_a_study_may_mix_files(tmp_path: Path, files: dict[str, str]) -> None:
    told: list[str] = []
    sources = [{"source": files["a"], "weight": 1.0}, {"source": files["b"], "weight": 1.0}]
    train, val, paths = gather(asked(tmp_path, sources), tmp_path, None, told.append)
    counts = Counter(name[0] for name in names(train))
    assert abs(counts["a"] - counts["b"]) <= 1
    assert 60 < counts["b"] <= 100
    assert set(Counter(name[0] for name in names(val))) == {"a", "b"}
    assert [str(path) for path in paths] == [files["a"], files["b"]]
    assert "of 400 in 2 sources" in told[-1]
    # The same is learnt of a file alone: its instructions stay on their side.
    alone, held_out, _ = gather(asked(tmp_path, files["b"]), tmp_path, None, told.append)
    assert {name for name in names(train) if name[0] == "b"} <= set(names(alone))
    assert {name for name in names(val) if name[0] == "b"} <= set(names(held_out))


def test_all_problems_of_all_sources_are_told_at_once(tmp_path: Path, files: dict[str, str]) -> None:
    (tmp_path / "bad").write_text("{}")
    sources = [{"source": one} for one in (files["none"], str(tmp_path / "bad"), "litgpt:Nothing")]
    with pytest.raises(InputError) as raised:
        gather(asked(tmp_path, sources, val_data=str(tmp_path / "gone")), tmp_path, None, print)
    problems = "\n".join(raised.value.problems)
    assert len(raised.value.problems) == 4
    for words in ("none: no such file", "bad: entry 1", "litgpt:Nothing: is no module", "val_data: "):
        assert words in problems
    with pytest.raises(InputError, match="holds one instruction: give more, or val_data"):
        gather(asked(tmp_path, files["one"]), tmp_path, None, print)


def test_what_is_learnt_and_held_out_is_said(tmp_path: Path, files: dict[str, str]) -> None:
    told: list[str] = []
    train, val, _ = gather(asked(tmp_path, files["a"], val_data=files["a"]), tmp_path, None, told.append)
    assert len(train) == len(val) == 300
    assert told[0] == "data: 300 of the held-out instructions are learnt from as well"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([{"source": "a", "weight": 0.0}], "greater than 0"),
        ([{"source": "a"}, {"source": "a"}], "a stands there twice"),
        ([{"source": "a"}, {"source": "demo"}], "no part of a mixture"),
        ([], "at least 1"),
        ("", "at least 1"),
    ],
)
def test_a_mixture_is_checked(tmp_path: Path, data: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        asked(tmp_path, data)
