"""Sections of a study file: budget, objective, and the entries of the space."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from orchestrator.contract.assignment import Value
from orchestrator.contract.strict import Many, Section
from orchestrator.space.space import Choice, Float, Int, Parameter


class ParameterSection(Section):
    """One entry of `[space]`."""

    type: Literal["float", "int", "choice"] | None = None
    low: float | None = None
    high: float | None = None
    log: bool = False
    options: Many[Value] | None = None
    default: Value | None = None
    when: dict[str, Value | Many[Value]] | None = None
    value: Value | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ParameterSection:
        self.parameter()
        return self

    def parameter(self) -> Parameter | None:
        """The axis this entry describes; None for a fixed value.

        Raises:
            ValueError: with the remedy.
        """
        if "value" in self.model_fields_set:
            if self.model_fields_set != {"value"}:
                only = " (it cannot be conditional)" if self.when is not None else ""
                raise ValueError(f"a fixed `value` takes no other key{only}")
            return None
        if self.type is None:
            raise ValueError('give `type = "float"`, "int" or "choice", or a fixed `value`')
        when = self.when or {}
        if self.type == "choice":
            if self.options is None or self.model_fields_set - {"type", "options", "default", "when"}:
                raise ValueError("a choice takes `options = [...]`, `default`, `when`, and needs the first")
            return Choice(self.options, self.default, when)
        if self.low is None or self.high is None or self.options is not None:
            raise ValueError(
                f"{self.type} takes `low`, `high`, `log`, `default`, `when`; it needs the first two"
            )
        if isinstance(self.default, bool | str):
            raise ValueError(f"`default` must be a number, got {self.default!r}")  # noqa: TRY004 — pydantic collects ValueError only
        if self.type == "float":
            return Float(self.low, self.high, self.log, self.default, when)
        numbers = [number for number in (self.low, self.high, self.default) if number is not None]
        if any(number != int(number) for number in numbers):
            raise ValueError(f"int takes whole numbers, got {numbers}")
        default = None if self.default is None else int(self.default)
        return Int(int(self.low), int(self.high), self.log, default, when)
