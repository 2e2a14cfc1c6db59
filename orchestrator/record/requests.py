"""Configurations that a person wants tried, on their way to the master: one file each in the run directory.

Only the master writes the ledger, so `orchestrator enqueue` drops a file, and the master takes it up at its
next look: the record first, then the file goes. A file whose name is in the ledger was taken up already.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.contract import publish
from orchestrator.contract.assignment import Configuration, Value
from orchestrator.contract.files import dumps
from orchestrator.errors import InputError, near
from orchestrator.record.directory import RunDirectory
from orchestrator.space import Choice, Float, SearchSpace
from orchestrator.space.parameter import Parameter


def put(run: RunDirectory, configuration: Configuration) -> Path:
    """Ask the master of this run, now or later, to have `configuration` tried; return the request."""
    _folder(run).mkdir(exist_ok=True)
    path = _folder(run) / f"{time.time_ns():020d}-{secrets.token_hex(3)}.json"
    publish(path, dumps(configuration))
    return path


def waiting(run: RunDirectory) -> list[Path]:
    """The requests that are there, oldest first; none while the filesystem is away."""
    try:
        names = sorted(entry.name for entry in os.scandir(_folder(run)))
    except OSError:
        return []
    return [_folder(run) / name for name in names if name.endswith(".json") and not name.startswith(".")]


def _folder(run: RunDirectory) -> Path:
    return run.path / "requests"


def content(request: Path, space: SearchSpace) -> Configuration | None:
    """The configuration that it asks for; None if it is none of the space's.

    Raises:
        OSError: it cannot be read.
    """
    try:
        configuration: Configuration = json.loads(request.read_text(encoding="utf-8"))
        return None if space.problems(configuration) else configuration
    except (ValueError, AttributeError, TypeError):  # not written by `put`
        return None


def parsed(words: Sequence[str], space: SearchSpace) -> Configuration:
    """The configuration that `name=value` words say; defaults fill what they leave out.

    Raises:
        InputError: every mistake.
    """
    problems: list[str] = []
    given: Configuration = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            problems.append(f"{word}: write it as name=value")
        elif name in given:
            problems.append(f"{name} is given twice")
        elif name not in space.parameters and name not in space.fixed:
            problems.append(f"{name}: no parameter of the study{near(name, space.names)}")
        else:
            try:
                given[name] = _value(text, space.parameters.get(name, space.fixed.get(name)))
            except ValueError as error:
                problems.append(f"{word}: {error}")
    if not problems:
        configuration = space.completed(given)
        problems = [
            f"{name}: give it a value, the study file has no default" for name in space.missing(configuration)
        ] or space.problems(configuration)
    if problems:
        raise InputError(problems)
    return configuration


def _value(text: str, entry: Parameter | Value | None) -> Value:
    """The value that `text` says for a parameter, or for one that is fixed.

    Raises:
        ValueError: it says none.
    """
    if isinstance(entry, Choice) or not isinstance(entry, Parameter):
        options = entry.options if isinstance(entry, Choice) else (entry,)
        found = [option for option in options if option is not None and text in _written(option)]
        if not found:
            names = ", ".join(_written(option)[-1] for option in options if option is not None)
            raise ValueError(
                f"must be one of {names}" if isinstance(entry, Choice) else f"is fixed at {names}"
            )
        return found[0]
    try:
        value: Value = float(text) if isinstance(entry, Float) else int(text)
    except ValueError:
        kind = "number" if isinstance(entry, Float) else "whole number"
        raise ValueError(f"must be a {kind}") from None
    entry.encode(value)
    return value


def _written(value: Value) -> tuple[str, ...]:
    """The ways to write a value in a shell; the last is that of a study file."""
    return (str(value), str(value).lower()) if isinstance(value, bool) else (str(value),)
