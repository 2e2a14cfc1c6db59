"""A TOML file that a person wrote: its content, and where each key stands in it.

Errors name the line, so that a file with five mistakes is mended in one go.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import InputError

T = TypeVar("T")
Place = Sequence[str | int]


@dataclass(frozen=True)
class TomlFile:
    """Parsed content with its text, for error messages that name lines."""

    path: Path
    text: str
    content: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> TomlFile:
        """Raises: InputError: the file is not there, not readable or not TOML."""
        try:
            text = path.read_text(encoding="utf-8")
            return cls(path, text, tomllib.loads(text))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is not UTF-8 text: {error.reason}") from error
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path}: is not valid TOML: {error}") from error

    def problem(self, place: Place, what: str) -> str:
        """One line of an error report: file, line, key, what is wrong and how to mend it."""
        line = self._line(place)
        where = f"{self.path}:{line}" if line else str(self.path)
        key = ".".join(str(part) for part in place)
        return f"{where}: {key}: {what}" if key else f"{where}: {what}"

    def section(self, place: Place, content: Any, model: Any, problems: list[str]) -> Any:
        """Validate `content` (found at `place`) as `model`; None, and lines in `problems`, if it is not."""
        try:
            return TypeAdapter(model).validate_python(content)
        except ValidationError as invalid:
            for error in invalid.errors():
                inner = _without_tags(content, error["loc"])
                problems.append(self.problem((*place, *inner), _words(error, model)))
            return None

    def _line(self, place: Place) -> int | None:
        """The line on which the deepest part of `place` that the text names stands."""
        best, depth = None, 0
        table: list[str] = []
        names = [str(part) for part in place if isinstance(part, str)]
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line):
                table = _keys(header.group(1))
                here = table
            elif key := re.match(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[\w"'-]+)*)\s*=""", line):
                here = [*table, *_keys(key.group(1))]
            else:
                continue
            if here == names[: len(here)] and len(here) > depth:
                best, depth = number, len(here)
        return best


def near(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` or `; known: …` for a word that is none of `known`."""
    known = sorted(known)
    if close := difflib.get_close_matches(word, known, n=1, cutoff=0.6):
        return f'; did you mean "{close[0]}"?'
    return f"; known: {', '.join(known)}" if known else ""


def _keys(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]


def _without_tags(content: Any, place: Place) -> list[str | int]:
    """Pydantic puts the names of union members among the keys; keep what the file really has."""
    kept: list[str | int] = []
    for part in place:
        if isinstance(content, dict):
            if part in content or part == place[-1]:
                kept.append(part)
                content = content.get(part)
        elif isinstance(content, list) and isinstance(part, int) and part < len(content):
            kept.append(part)
            content = content[part]
    return kept


def _words(error: Any, model: Any) -> str:
    kind, given = error["type"], error["input"]
    if kind == "extra_forbidden":
        known = getattr(model, "model_fields", {}) if len(error["loc"]) == 1 else {}
        return f"unknown key{near(str(error['loc'][-1]), known)}"
    if kind == "missing":
        return "is missing: give it a value"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return message if isinstance(given, dict | list) else f"{message}, got {given!r}"
