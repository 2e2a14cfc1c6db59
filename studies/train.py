"""A program to start from: it is run as `train.py CONFIGURATION.json OUTPUT.json`, and runs as it stands.

What stands in for a training here is a noisy bowl. Put your own in its place: read the configuration, train,
write the metrics.
"""

import json
import os
import random
import sys
from pathlib import Path
from typing import Any


def trained(configuration: dict[str, Any], seed: int) -> list[float]:
    """Losses over some runs of a made-up training: best near a learning rate of 3e-3 and 64 hidden units."""
    draw = random.Random(seed)  # noqa: S311 - equal seeds give equal scores
    rate, hidden = configuration["learning_rate"], configuration["hidden"]
    penalty = 0.05 if configuration["optimizer"] == "sgd" else 0.0
    bowl = (rate / 3e-3 - 1) ** 2 / (1 + rate / 3e-3) + (hidden / 64 - 1) ** 2 / (1 + hidden / 64)
    return [0.3 + 0.1 * bowl + penalty + draw.gauss(0, 0.01) for _ in range(20)]


def main(configuration: Path, output: Path) -> None:
    """Train as the configuration says, and write the metrics."""
    losses = trained(json.loads(configuration.read_text()), int(os.environ.get("ORCHESTRATOR_SEED", "0")))
    mean = sum(losses) / len(losses)
    variance = sum((loss - mean) ** 2 for loss in losses) / (len(losses) - 1)
    metrics = {"loss": {"value": mean, "stderr": (variance / len(losses)) ** 0.5, "n": len(losses)}}
    output.write_text(json.dumps(metrics))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
