"""What one attempt at a trial is to do: the content of `trial.json`."""

from __future__ import annotations

from typing import Any

from orchestrator.contract.strict import Record

Value = bool | int | float | str


Configuration = dict[str, Value]


class Promoted(Record):
    """A trial of a cheaper study that another one goes on with."""

    trial: int  # there
    configuration: Configuration
    seed: int
    adapter: str  # where it left what it had trained


class Assignment(Record):
    """What one attempt at a trial is to do: the content of `trial.json`.

    An empty configuration asks for the untouched base model.
    """

    study: str
    trial: int
    attempt: int
    configuration: Configuration
    seed: int
    evaluation: dict[str, Any]  # the `[evaluation]` section, validated, paths absolute
    metrics: tuple[str, ...]  # the objective, which the result must hold; then the reported ones
    cache: str  # the shared cache that `prepare` filled
    walltime_min: float | None = None
    hosts: int = 1
    gpus: int = 0  # per host
    checkpoint: str | None = None  # directory that all attempts of the trial share; None: `checkpoint` here
    goes_on_from: str | None = None  # an adapter of another study that was trained less, with this seed

    @property
    def objective(self) -> str | None:
        """The metric that the configuration is judged by; None if none is searched."""
        return self.metrics[0] if self.metrics else None
