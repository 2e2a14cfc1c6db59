"""After how many steps torch.compile would pay for itself in the evaluation job's training loop.

    python -m benchmarks.compilation [STEPS]

Both ways in one run, over the shared model and data, on a GPU if there is one: eager, compiled, eager again.
The blocks are compiled, each for any length and any number of samples: the smallest part that all share.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch

from benchmarks.evaluation_inputs import SHARED
from jobs.data.instructions import read_instructions
from jobs.data.tokens import Sample, tokenized
from jobs.model import lora
from jobs.training import finetune
from jobs.training.recipe import Recipe
from orchestrator.contract.evaluation import Hyperparameters

WANTED = Hyperparameters(lora_rank=8, lora_alpha=16.0, learning_rate=1e-3)
BATCH, LENGTH, SAMPLES = 16, 192, 800


def seconds(samples: list[Sample], place: torch.device, steps: int, *, compiled: bool) -> list[float]:
    """Of each step."""
    precision = "bf16" if place.type == "cuda" else "fp32"
    net = lora.load(SHARED / "base", WANTED, ("query", "value"), precision=precision, seed=0, device=place)
    if compiled:
        for block in net.transformer.h:
            block.compile(dynamic=True)
    recipe = Recipe(
        steps=steps,
        batch_size=BATCH,
        micro_batch_size=None,
        learning_rate=WANTED.learning_rate,
        weight_decay=0.0,
        warmup_steps=2,
        cosine=True,
        shuffled=True,
        bf16=precision == "bf16",
    )
    marks = [time.perf_counter()]
    finetune.finetune(
        net, samples, recipe, seed=0, device=place, progress=lambda _: marks.append(time.perf_counter())
    )
    return [after - before for before, after in pairwise(marks)]


def main() -> int:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as cache:
        samples = tokenized(
            read_instructions(SHARED / "sft" / "train.json")[:SAMPLES],
            SHARED / "base",
            prompt_style="alpaca",
            max_length=LENGTH,
            mask_prompt=False,
            cache=Path(cache),
        )
    found = [seconds(samples, place, steps, compiled=compiled) for compiled in (False, True, False)]
    eager, compiled = statistics.median(found[0] + found[2]), statistics.median(found[1])
    cost = sum(found[1]) - steps * compiled
    print(f"{lora.device_name(place)}, {steps} steps of {BATCH} samples")
    print(f"a step: eager {eager:.3f} s, compiled {compiled:.3f} s; compiling {cost:.1f} s")
    print(f"it pays from {cost / (eager - compiled):.0f} steps on" if compiled < eager else "it never pays")
    return 0


if __name__ == "__main__":
    sys.exit(main())
