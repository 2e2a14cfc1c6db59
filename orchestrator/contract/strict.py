"""Bases of what is written as JSON and of what a person writes: unknown keys and odd numbers are refused."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """Base of what is written as JSON: unknown keys and non-finite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


T = TypeVar("T")


Many = Annotated[tuple[T, ...], Field(strict=False)]  # an array of a file; its items stay strict


class Section(BaseModel):
    """Base of every section of a file a person writes: unknown keys are refused, nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)
