"""Search spaces from publications, by the name that `preset` in the [space] section of a study takes."""

from __future__ import annotations

from orchestrator.space.parameter import Float, Int, Parameter

# Davouse 2025 gives two spaces: the paper's table, and the one its code and data used.
_LEARNING_RATE = Float(1e-10, 1e-1, log=True)
_DROPOUT = Float(0.0, 0.5)
PRESETS: dict[str, dict[str, Parameter]] = {
    "davouse2025-table": {
        "lora_rank": Int(2, 32),
        "lora_alpha": Int(16, 64),
        "lora_dropout": _DROPOUT,
        "learning_rate": _LEARNING_RATE,
        "weight_decay": Float(1e-3, 1e-1, log=True),
    },
    "davouse2025-code": {
        "lora_rank": Int(2, 64),
        "lora_alpha": Int(1, 64),
        "lora_dropout": _DROPOUT,
        "learning_rate": _LEARNING_RATE,
        "weight_decay": Float(1e-5, 1e-1, log=True),
    },
}
