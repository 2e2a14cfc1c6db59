"""A TOML file that a person wrote: its content, and where each key stands in it.

Errors name the line, so that a file with five mistakes is mended in one go.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import InputError, near

T = TypeVar("T")


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

    def problem(self, keys: Sequence[str | int], what: str) -> str:
        """One line of an error report: file, line, key, what is wrong and how to mend it."""
        line = self._line(keys)
        where = f"{self.path}:{line}" if line else str(self.path)
        key = ".".join(str(part) for part in keys)
        return f"{where}: {key}: {what}" if key else f"{where}: {what}"

    def section(
        self,
        keys: Sequence[str | int],
        content: Any,
        model: Any,
        problems: list[str],
        also: Iterable[str] = (),
    ) -> Any:
        """Validate `content` (found at `keys`) as `model`; None, and lines in `problems`, if it is not.

        `also` are keys beside those of the model that a misspelt one may mean.
        """
        try:
            return TypeAdapter(model).validate_python(content)
        except ValidationError as invalid:
            found: dict[tuple[str | int, ...], list[Any]] = {}
            for error in invalid.errors():
                found.setdefault(_without_tags(content, error), []).append(error)
            problems += [
                self.problem((*keys, *inner), _words(those, model, also)) for inner, those in found.items()
            ]
            return None

    def _line(self, keys: Sequence[str | int]) -> int | None:
        """The line on which the deepest part of `keys` that the text names stands."""
        best, depth = None, 0
        table: list[str | int] = []
        arrays: dict[tuple[str, ...], int] = {}  # of tables: index of the one we are in
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := re.match(r"""\s*(\[\[?)\s*([\w."' \t-]+?)\s*\]\]?\s*(#.*)?$""", line):
                dotted = _keys(header.group(2))
                if header.group(1) == "[[":
                    arrays[tuple(dotted)] = arrays.get(tuple(dotted), -1) + 1
                table = []
                for name in dotted:
                    table.append(name)
                    path = tuple(part for part in table if isinstance(part, str))
                    table += [arrays[path]] if path in arrays else []
                here = table
            elif key := re.match(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[\w"'-]+)*)\s*=""", line):
                here = [*table, *_keys(key.group(1))]
            else:
                continue
            if here == list(keys[: len(here)]) and len(here) > depth:
                best, depth = number, len(here)
        return best


def _keys(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]


def _without_tags(content: Any, error: Any) -> tuple[str | int, ...]:
    """Pydantic puts the names of union members among the keys; keep what the file really has."""
    kept: list[str | int] = []
    for part in error["loc"]:
        if (isinstance(content, dict) and part in content) or (
            isinstance(content, list) and isinstance(part, int) and part < len(content)
        ):
            kept.append(part)
            content = content[part]
    if error["type"] == "missing":
        kept.append(error["loc"][-1])
    if error["type"].startswith("union_tag"):
        kept.append(error["ctx"]["discriminator"].strip("'"))
    return tuple(kept)


def _words(errors: Sequence[Any], model: Any, also: Iterable[str]) -> str:
    """What is wrong at one keys: of a union, why it is none of its members."""
    kind, loc, given = errors[0]["type"], errors[0]["loc"], errors[0]["input"]
    if kind == "extra_forbidden":
        known = _known(model, loc).union(also if len(loc) == 1 else ()) - {loc[-1]}
        return f"unknown key{near(str(loc[-1]), known)}"
    if kind in ("missing", "union_tag_not_found"):
        return "is missing: give it a value"
    if kind == "union_tag_invalid":
        tag, tags = errors[0]["ctx"]["tag"], errors[0]["ctx"]["expected_tags"]
        return f'unknown "{tag}"{near(tag, tags.replace(chr(39), "").split(", "))}'
    if kind == "model_type":
        return f"must be a table of keys, got {given!r}"
    messages = [error["msg"].removeprefix("Value error, ") for error in errors]
    others = dict.fromkeys(message.removeprefix("Input should be ") for message in messages[1:])
    messages = [message.replace("tuple", "array") for message in messages]
    message = " or ".join([messages[0][0].lower() + messages[0][1:], *others])
    return message if isinstance(given, dict | list) else f"{message}, got {given!r}"


def _known(model: Any, loc: Sequence[str | int]) -> set[str]:
    """The keys known where the last of `loc` stands, pydantic's names of union members among them."""
    for part in loc[:-1]:
        if get_origin(model) is Annotated:
            model = get_args(model)[0]
        fields = getattr(model, "model_fields", {})
        if part in fields:
            model = fields[part].annotation
        elif isinstance(part, int):
            model = get_args(model)[0]
        else:  # a member's kind; or its class, and then any member may be meant
            model = next((member for member in get_args(model) if part in _kinds(member)), model)
    members = [model] if hasattr(model, "model_fields") else get_args(model)
    return {key for member in members for key in getattr(member, "model_fields", {})}


def _kinds(member: Any) -> tuple[str, ...]:
    kind = getattr(member, "model_fields", {}).get("kind")
    return get_args(kind.annotation) if kind else ()
