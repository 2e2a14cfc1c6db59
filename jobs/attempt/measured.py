"""What an evaluation found, and the environment variables with which it runs: no network is used."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.contract import Metric

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
        metrics: by name.
        device: what it ran on, as text.
        versions: what else identifies it, beside the packages: digests of its inputs and of its adapter.
        peak_memory_bytes: most memory that one of its processes used; None: it was this process alone.
        notes: what people are to know of it, a line each: metrics that were left out, and why.
    """

    metrics: dict[str, Metric]
    device: str = "cpu"
    versions: dict[str, str] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    notes: tuple[str, ...] = ()
