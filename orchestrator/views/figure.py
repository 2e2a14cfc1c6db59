"""The figure of a report: the objective, evaluation by evaluation."""

from __future__ import annotations

import math
from itertools import accumulate
from pathlib import Path
from statistics import quantiles
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from orchestrator.record import Summary


def draw_progress(summary: Summary, path: Path) -> None:
    """Write a PNG: each evaluation's objective with its standard error, the best so far, the base model.

    Failures have no value: they are marked at the worse edge.
    """
    minimized = summary.history.created.objective.direction == "minimize"
    own = summary.history.spent
    scored = [(t.number, value) for t in own if (value := summary.objective(t)) is not None]
    failed = [t.number for t in own if t.evaluation is not None and t.evaluation.failure is not None]
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    if scored:
        numbers, values = zip(*scored, strict=True)
        centers = [value.value for value in values]
        errors = [value.stderr or 0.0 for value in values]
        label = "evaluation ± 1 SE" if any(errors) else "evaluation"
        axes.errorbar(numbers, centers, yerr=errors, fmt="o", ms=5, color="#4477aa", label=label)
        best = list(accumulate(centers, min if minimized else max))
        axes.step(numbers, best, where="post", color="#228833", label="best so far")
        _frame(axes, centers, minimized=minimized)
    if (incumbent := summary.incumbent) is not None and (value := summary.objective(incumbent)) is not None:
        axes.plot(incumbent.number, value.value, "*", ms=14, color="#228833", zorder=3)
    if failed:
        edge = axes.get_xaxis_transform()
        height = 0.97 if minimized else 0.03
        axes.plot(
            failed, [height] * len(failed), "x", color="#cc3311", transform=edge, label="failed: no score"
        )
    if (base := summary.base) is not None and (value := summary.objective(base)) is not None:
        axes.axhline(value.value, color="#999999", ls="--", label="base model")
    better = "lower" if minimized else "higher"
    axes.set(xlabel="trial", ylabel=f"{summary.metric} ({better} is better)")
    axes.set_title(summary.history.created.study)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=4, frameon=False)  # inside, its marks pass for data
    figure.savefig(path, dpi=150)


def _frame(axes: Any, centers: list[float], *, minimized: bool) -> None:
    """Cut off the worst, if one evaluation that nearly diverged would flatten all others."""
    first, _, third = quantiles(centers, n=4) if len(centers) > 3 else (0.0, 0.0, math.inf)
    reach = 4 * (third - first)
    limit = third + reach if minimized else first - reach
    beyond = [value > limit if minimized else value < limit for value in centers]
    if reach and any(beyond):
        inside = [value for value, out in zip(centers, beyond, strict=True) if not out]
        margin = 0.15 * (max(inside) - min(inside))
        axes.set_ylim(min(inside) - margin, max(inside) + margin)
        axes.set_title(f"{sum(beyond)} beyond the frame", loc="right", fontsize="small", color="#4477aa")
