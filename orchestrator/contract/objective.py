"""What a study is to find, and what it may spend: two sections of its file that its ledger holds too."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.contract.strict import Many, Section


class Budget(Section):
    """When the study ends: whichever comes first."""

    evaluations: Annotated[int, Field(ge=1)] | None = None
    gpu_hours: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _some(self) -> Budget:
        if self.evaluations is None and self.gpu_hours is None:
            raise ValueError("give `evaluations`, `gpu_hours` or both")
        return self


class Objective(Section):
    """The metric that is searched, and metrics that are only reported."""

    metric: str
    direction: Literal["maximize", "minimize"]
    report: Many[str] = ()

    @property
    def sign(self) -> float:
        """Scores are maximized inside: score = sign · metric. The one place a loss is negated."""
        return 1.0 if self.direction == "maximize" else -1.0

    @property
    def metrics(self) -> tuple[str, ...]:
        """What a result must hold: the objective first."""
        return (self.metric, *(name for name in self.report if name != self.metric))
