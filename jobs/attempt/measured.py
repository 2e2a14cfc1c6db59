"""What an evaluation found, and the environment in which it runs: no network."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.contract.result import Metric

# Compute nodes have no way out: a library that asked the network would hang, or fetch what no one checked.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Measured:
    """What an evaluation found.

    Attributes:
        device: what it ran on, in words.
        versions: what else identifies it, beside the packages: digests of its inputs and of its adapter.
        peak_memory_bytes: of one process; None: of this one.
    """

    metrics: dict[str, Metric]
    device: str = "cpu"
    versions: dict[str, str] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
