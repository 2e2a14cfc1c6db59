"""A trained adapter that is to be exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.contract import LitGPTEvaluation
from orchestrator.contract.assignment import Configuration


@dataclass(frozen=True)
class Adapter:
    """What one trial trained.

    Attributes:
        file: the file that its job wrote.
        digest: of its matrices (`jobs.model.lora.adapter_digest`), from the trial's result.
        model: the LitGPT checkpoint that it was trained on.
        evaluation: the study's.
        configuration: the trial's.
    """

    file: Path
    digest: str
    model: Path
    evaluation: LitGPTEvaluation
    configuration: Configuration
