"""A file appears whole or not at all, whoever dies and whoever else wants it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.contract import publish, publish_once
from orchestrator.contract.files import dumps

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_json_values_come_back_from_one_line(value: Any) -> None:
    text = dumps(value)
    assert json.loads(text) == value
    assert "\n" not in text


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps({"score": [1.0, number]})


def test_publish_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path / "a", "one")
    publish(tmp_path / "a", "zwölf")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "zwölf"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("write", [publish, publish_once])
def test_what_cannot_be_written_leaves_everything_as_it_was(tmp_path: Path, write: Any) -> None:
    publish(tmp_path / "a", "one")
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "a", "\ud800")
    assert (tmp_path / "a").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_publish_into_a_place_that_is_taken_by_a_directory_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="directory"):
        publish(tmp_path / "a", "one")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_publish_once_leaves_the_first_there(tmp_path: Path) -> None:
    assert publish_once(tmp_path / "a", "first")
    assert not publish_once(tmp_path / "a", "second")
    assert (tmp_path / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_link_whose_answer_was_lost_still_counts_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    assert publish_once(tmp_path / "a", "first")


PUBLISH_FOR_EVER = """
import sys
from itertools import cycle
from pathlib import Path
from orchestrator.contract.files import publish
for letter in cycle("ab"):
    publish(Path(sys.argv[1]), letter * 1_000_000)
"""


def test_a_reader_never_sees_a_part_though_the_writer_is_killed_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "file"
    wholes = {letter * 1_000_000 for letter in (b"a", b"b")}
    for kill in range(4):
        path.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", PUBLISH_FOR_EVER, str(path)])
        while not path.exists():
            time.sleep(0.001)
        for _ in range(100 + 7 * kill):
            assert path.read_bytes() in wholes
        writer.kill()
        writer.wait()
        assert path.read_bytes() in wholes
    publish(path, "the next writer is not hindered")


CLAIM_ALL = """
import sys
from pathlib import Path
from orchestrator.contract.files import publish_once
folder, name = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
print(*(n for n in range(100) if publish_once(folder / str(n), name)))
"""


def test_exactly_one_of_many_processes_publishes_first(tmp_path: Path) -> None:
    (tmp_path / "claims").mkdir()
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-c", CLAIM_ALL, str(tmp_path / "claims"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "abcd"
    }
    for process in processes.values():
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes.values():
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    won = {name: process.communicate()[0].split() for name, process in processes.items()}
    assert sorted(n for numbers in won.values() for n in numbers) == sorted(map(str, range(100)))
    assert all((tmp_path / "claims" / n).read_text() == name for name in won for n in won[name])
