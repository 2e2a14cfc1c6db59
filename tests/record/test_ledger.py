"""The ledger survives a death at any byte, a full disk and a stranger's hand."""

from __future__ import annotations

import json
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import LedgerCorrupt, StudyStopped
from orchestrator.record.ledger import Ledger, Line, read
from tests.fakes.builders import Story


def write(path: Path) -> list[Line]:
    ledger = Ledger(path)
    records = [
        ledger.append("created", study="ö"),
        ledger.append("state", state={"rng": [1, 2.5, None]}),
        ledger.append("asked", trials=[]),
    ]
    ledger.close()
    return records


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Files can grow to `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_appended_is_read(path: Path) -> None:
    records = write(path)
    assert list(read(path)) == records
    assert [record["seq"] for record in records] == [0, 1, 2]


def test_a_record_is_on_disk_when_append_returns(path: Path) -> None:
    ledger = Ledger(path)
    for number in range(3):
        record = ledger.append("asked", round=number)
        assert list(read(path))[-1] == record
    ledger.close()


def test_the_next_writer_goes_on_where_the_last_one_ended(path: Path) -> None:
    records = write(path)
    ledger = Ledger(path)
    records.append(ledger.append("ended", why="done"))
    ledger.close()
    assert list(read(path)) == records


def test_states_can_be_passed_over(path: Path) -> None:
    created, _, asked = write(path)
    assert list(read(path, states=False)) == [created, asked]


def test_cut_at_any_byte_the_whole_lines_are_read_and_the_next_writer_mends_the_rest(path: Path) -> None:
    records = write(path)
    content = path.read_bytes()
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        whole = records[: content[:cut].count(b"\n")]
        assert list(read(path)) == whole
        ledger = Ledger(path)
        last = ledger.append("ended", why="done")
        ledger.close()
        assert list(read(path)) == [*whole, last]
        assert path.read_bytes().startswith(content[: content[:cut].rfind(b"\n") + 1])


def read_or_complain(path: Path) -> list[Line] | str:
    try:
        return list(read(path))
    except LedgerCorrupt as corrupt:
        return str(corrupt)


STORY = Story().ask({"rate": 0.1, "kind": "ä"}).submit((0, 1)).score(0, 1.25, 0.5)
BYTES = STORY.bytes


# Without the last line end the last line is torn, not changed: that byte is left alone.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=500)
@given(place=st.integers(0, len(BYTES) - 2), byte=st.integers(0, 255))
def test_a_changed_byte_is_reported_with_its_line_or_changes_nothing_but_its_own_record(
    path: Path, place: int, byte: int
) -> None:
    path.write_bytes(BYTES[:place] + bytes([byte]) + BYTES[place + 1 :])
    line = BYTES[:place].count(b"\n")
    found = read_or_complain(path)
    if isinstance(found, str):
        assert found.startswith(f"{path}:{line + 1}: ")
        with pytest.raises(LedgerCorrupt):
            Ledger(path)
    else:
        pairs = zip(found, STORY.records, strict=True)
        assert all(now == then for number, (now, then) in enumerate(pairs) if number != line)


@pytest.mark.parametrize("damage", ["lost", "repeated", "swapped", "empty", "no object", "joined"])
def test_a_line_that_is_not_the_next_record_is_damage(path: Path, damage: str) -> None:
    write(path)
    a, b, c = path.read_bytes().splitlines(keepends=True)
    lines = {
        "lost": [a, c],
        "repeated": [a, a, b, c],
        "swapped": [a, c, b],
        "empty": [a, b"\n", b, c],
        "no object": [a, b"[1]\n", c],
        "joined": [a, b[:-1] + c],
    }
    path.write_bytes(b"".join(lines[damage]))
    with pytest.raises(LedgerCorrupt, match=r"ledger\.jsonl:2: is not record 1"):
        list(read(path))
    before = path.read_bytes()
    with pytest.raises(LedgerCorrupt, match=r"ledger\.jsonl:2: "):
        Ledger(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("room", [0, 1, 30])
def test_a_full_disk_leaves_the_ledger_as_it_was_and_says_how_to_go_on(path: Path, room: int) -> None:
    records = write(path)
    content = path.read_bytes()
    ledger = Ledger(path)
    with disk_of(len(content) + room), pytest.raises(StudyStopped, match=r"File too large.*resume"):
        ledger.append("ended", why="done")
    assert path.read_bytes() == content
    records.append(ledger.append("ended", why="done"))
    ledger.close()
    assert list(read(path)) == records


class BrokenDisk:
    """Takes half of a line, and from then on nothing, not even a cut."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def write(self, line: bytes) -> int:
        if len(line) < 20:
            raise OSError(5, "Input/output error")
        return int(self.file.write(line[: len(line) // 2]))

    def truncate(self, size: int) -> int:
        raise OSError(5, "Input/output error")


def test_a_disk_that_is_gone_stops_the_study_and_costs_only_the_line_that_was_refused(path: Path) -> None:
    records = write(path)
    ledger = Ledger(path)
    ledger._file = BrokenDisk(ledger._file)  # type: ignore[assignment]
    with pytest.raises(StudyStopped, match="Input/output error"):
        ledger.append("ended", why="done")
    assert list(read(path)) == records
    Ledger(path).close()
    assert list(read(path)) == records


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused_at_the_door(path: Path, number: float) -> None:
    records = write(path)
    ledger = Ledger(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.append("evaluated", evaluation={"metrics": {"loss": number}})
    records.append(ledger.append("ended", why="done"))
    ledger.close()
    assert list(read(path)) == records


def test_every_line_is_json_by_itself(path: Path) -> None:
    records = write(path)
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == records
