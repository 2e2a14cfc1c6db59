"""What every record of a ledger is: frozen fields that are written as the JSON object of their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Self

from pydantic import BaseModel

Readers = dict[str, Callable[[Any], Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Base of what a record says.

    Attributes:
        kind: the word for it in the ledger.
    """

    kind: ClassVar[str]
    _keys: ClassVar[Mapping[str, str]] = {}  # field -> its key, where that is another word
    _read: ClassVar[Readers] = {}  # field -> how its JSON value is read

    @property
    def content(self) -> dict[str, Any]:
        """Its fields as JSON values."""
        return {self._keys.get(f.name, f.name): _json(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def parsed(cls, content: Mapping[str, Any]) -> Self:
        """Return the fact whose `content` this is.

        Raises:
            KeyError: a field is missing that every version has written.
            TypeError, ValueError: a value is not of its field.
        """
        given = {}
        for field in fields(cls):
            key = cls._keys.get(field.name, field.name)
            if key in content or field.default is MISSING:
                read = cls._read.get(field.name)
                given[field.name] = content[key] if read is None else read(content[key])
        return cls(**given)


def _json(value: Any) -> Any:
    if isinstance(value, Fact):
        return value.content
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_json(one) for one in value] if isinstance(value, tuple) else value
