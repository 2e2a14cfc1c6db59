"""What `evaluation.py` found of each side, as a table and beside the goals."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.evaluation_work import Work, outside

STAGES = ("start", "imports", "load", "train", "validate", "score", "rest", "total")


@dataclass(frozen=True)
class Side:
    """What one side took, and found."""

    seconds: dict[str, float]
    peak_memory_bytes: int
    metrics: dict[str, float]


def median(sides: list[Side]) -> Side:
    """The one of the median total."""
    middle = statistics.median_high([side.seconds["total"] for side in sides])
    return next(side for side in sides if side.seconds["total"] == middle)


def rows(sides: Mapping[str, Side], done: Work, rate: float) -> list[tuple[str, dict[str, str]]]:
    """The table: a label, and a cell for each side."""
    table = [
        (name, {side: f"{one.seconds.get(name, 0.0):.1f}" for side, one in sides.items()}) for name in STAGES
    ]
    for label, stage, flop in (
        ("training, of rate", "train", done.training_flop),
        ("scoring, of rate", "score", done.scoring_flop),
    ):
        table.append(
            (label, {side: f"{flop / one.seconds[stage] / rate:.1%}" for side, one in sides.items()})
        )
    table.append(("outside arithmetic", {side: f"{outside(one.seconds):.0%}" for side, one in sides.items()}))
    table.append(("peak MiB", {side: f"{one.peak_memory_bytes / 2**20:.0f}" for side, one in sides.items()}))
    if "litgpt" in sides:
        whole = sides["litgpt"].seconds["total"]
        table.append(
            ("times as fast", {side: f"{whole / one.seconds['total']:.2f}" for side, one in sides.items()})
        )
    return table


def shown(table: list[tuple[str, dict[str, str]]]) -> str:
    names = list(table[0][1])
    lines = [f"{'seconds':20}" + "".join(f"{name:>10}" for name in names)]
    lines += [f"{label:20}" + "".join(f"{cells[name]:>10}" for name in names) for label, cells in table]
    return "\n".join(lines)


def goals(sides: Mapping[str, Side], done: Work, rate: float, device: str) -> dict[str, tuple[float, float]]:
    """What -> value, goal; all but the last are to be reached, that is not to be passed."""
    warm = sides["warm"].seconds
    found: dict[str, tuple[float, float]] = {}
    if "litgpt" in sides:
        found["times as fast"] = (
            sides["litgpt"].seconds["total"] / warm["total"],
            3 if device == "cpu" else 10,
        )
    if device != "cpu":
        found["training, of rate"] = done.training_flop / warm["train"] / rate, 0.45
        found["scoring, of rate"] = done.scoring_flop / warm["score"] / rate, 0.35
        found["outside arithmetic"] = outside(warm), 0.15
    return found
