"""Reads instructions to learn from: a user's files, in the layouts that data sets come in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.errors import InputError

Instruction = dict[str, str]  # instruction, input ("": none), output

# Layout -> its columns for instruction, input and output; the second may be absent.
LAYOUTS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {"Alpaca": ("instruction", "input", "output"), "Dolly": ("instruction", "context", "response")}
)
_WANTED = "; ".join(f"{name}: {', '.join(keys)}" for name, keys in LAYOUTS.items())
_PROBLEMS_SHOWN = 5


def read_instructions(path: Path, renamed: Mapping[str, str] = MappingProxyType({})) -> list[Instruction]:
    """The instructions in a JSON array, a JSONL or a Parquet file; other columns are ignored.

    Args:
        path: of the file.
        renamed: the names that columns of the file have here, by their names there.

    Raises:
        InputError: every malformed entry (the first few of many), with its place.
    """
    entries = list(_parquet(path) if _is_parquet(path) else _text(path))
    if not entries:
        raise InputError(f"{path}: holds no instruction: give a JSON array, an object a line, or Parquet")
    if renamed:
        entries = [
            {renamed.get(key, key): value for key, value in entry.items()}
            if isinstance(entry, dict)
            else entry
            for entry in entries
        ]
    return parsed(entries, str(path))


def parsed(entries: list[Any], name: str) -> list[Instruction]:
    """The instructions in raw entries, whose layout the first entry shows.

    Args:
        entries: as a file or a data module holds them; at least one.
        name: where they are from, for messages.

    Raises:
        InputError: every malformed entry (the first few of many), with its number.
    """
    first = entries[0] if isinstance(entries[0], dict) else {}
    found = [layout for layout in LAYOUTS if LAYOUTS[layout][2] in first]
    layout = found[0] if len(found) == 1 else "Alpaca"
    problems = [
        f"{name}: entry {number}: {wrong}"
        for number, entry in enumerate(entries, start=1)
        if (wrong := _wrong_with(entry, LAYOUTS[layout], layout))
    ]
    if problems:
        more = len(problems) - _PROBLEMS_SHOWN
        raise InputError(
            problems[:_PROBLEMS_SHOWN] + ([f"{name}: and {more} more such entries"] if more > 0 else [])
        )
    columns = dict(zip(LAYOUTS["Alpaca"], LAYOUTS[layout], strict=True))
    return [{to: entry.get(column) or "" for to, column in columns.items()} for entry in entries]


def _wrong_with(entry: Any, keys: tuple[str, str, str], layout: str) -> str:
    """What is wrong with an entry; "" if nothing is."""
    if not isinstance(entry, dict):
        return f"is no object but {type(entry).__name__}: give instruction and output"
    first, middle, last = keys
    for key in (first, last):
        if not isinstance(entry.get(key), str):
            others = [one for one in LAYOUTS if one != layout and isinstance(entry.get(LAYOUTS[one][2]), str)]
            if key == last and others:
                return f"is in {others[0]} layout, and the first entry in {layout}: make two files of them"
            held = ", ".join(map(str, entry)) or "nothing"
            return f"has no text under {key!r}: it has {held}; wanted: {_WANTED}"
    if not isinstance(entry.get(middle) or "", str):
        return f"{middle!r} is no text"
    return "" if entry[last].strip() else f"{last!r} is empty: nothing to learn"


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _parquet(path: Path) -> Iterator[Any]:
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    try:
        yield from read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise InputError(f"{path}: is no whole Parquet file ({' '.join(str(error).split())})") from error


def _text(path: Path) -> Iterator[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text ({error}): convert it") from error
    if text.lstrip()[:1] == "<":
        raise InputError(f"{path}: is a web page or XML, no data: perhaps an error page; fetch it again")
    if not text.lstrip().startswith("["):
        yield from json_lines(path, text)
        return
    try:
        yield from json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: is no JSON ({error})") from error


def json_lines(path: Path, text: str) -> Iterator[Any]:
    """Yield the JSON value of each line of `text` that is not empty.

    Args:
        path: where the text is from, for messages.
        text: what the file holds.

    Raises:
        InputError: a line is no JSON.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}: line {number}: is no JSON ({error})") from error
