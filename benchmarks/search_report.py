"""What the studies of `search.py` amount to: a table, two CSV files, one figure.

score      mean over problems and seeds of log₁₀(regret / random-50 regret), lower is better, floored at −12.
           regret: how far the noise-free value of the incumbent lies from the optimum, the incumbent being
           what was observed best so far, noise included; random-50 regret: mean, over 400 draws, of the
           regret of the best of 50 uniform points (`Problem.random_regrets`). Until something has scored, the
           regret is that of one random point.
SE         standard error of that mean over seeds: √(Σ s²ₚ / nₚ) / P over the P problems, which are fixed.
@3, @5     after that many rounds; asynchronously, after that many times q evaluations ended.
n          studies.
rounds     asks that brought anything.
distinct   different configurations, of how many evaluations.
ask        wall seconds per ask of a whole batch, median and maximum; the CSV also has CPU time, which others
           on the machine change less (mads and the published tpe have a process of their own: none of it).
busy       share of host time in use until the last evaluation ends / until the last one starts.
time       until the last evaluation ends, in mean job durations.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.simulation import utilization

FLOOR = -12.0
HEADINGS = ("n", "score ± SE", "@3", "@5", "rounds", "distinct", "failed", "ask s (max)", "busy %", "time")
Line = dict[str, Any]
Array = npt.NDArray[np.float64]


def curve(line: Line) -> Array:
    """log₁₀(regret / random-50 regret) of the incumbent after each round: (rounds + 1,), none to all.

    Asynchronously a round is q evaluations, in the order in which they ended.
    """
    if line["asynchronous"]:
        order = np.argsort(line["ended"], kind="stable").tolist()
        ends = [*range(line["q"], len(order), line["q"]), len(order)]
    else:
        order, ends = list(range(len(line["scores"]))), np.cumsum(line["rounds"]).tolist()
    best, regret, regrets = -math.inf, line["random1"], [line["random1"]]
    for trial in order:
        score = line["scores"][trial]
        if score is not None and score > best:
            best, regret = score, line["regrets"][trial]
        regrets.append(regret)
    ratios = np.array([regrets[end] for end in [0, *ends]]) / line["random50"]
    return np.asarray(np.log10(np.maximum(ratios, 10**FLOOR)))


def at(line: Line, rounds: int) -> float:
    """The curve's value after that many rounds, or at its end."""
    values = curve(line)
    return float(values[min(rounds, len(values) - 1)])


def mean_and_error(lines: Iterable[Line], values: Iterable[float]) -> tuple[float, float]:
    """Mean over problems of the means over seeds, and its standard error; NaN with one seed."""
    by_problem = defaultdict[str, list[float]](list)
    for line, value in zip(lines, values, strict=True):
        by_problem[line["problem"]].append(value)
    means = [statistics.fmean(of_one) for of_one in by_problem.values()]
    variances = [statistics.variance(v) / len(v) if len(v) > 1 else math.nan for v in by_problem.values()]
    return statistics.fmean(means), math.sqrt(sum(variances)) / len(means)


def summarize(lines: Sequence[Line]) -> dict[str, float]:
    """The columns of the table over studies of one method."""
    final, error = mean_and_error(lines, (float(curve(line)[-1]) for line in lines))
    busy = [utilization(line["started"], line["ended"], line["q"]) for line in lines]
    asks = [seconds for line in lines for seconds in line["ask_seconds"]]
    cpu = [seconds for line in lines for seconds in line.get("ask_cpu_seconds", [math.nan])]
    evaluations = [len(line["scores"]) for line in lines]
    return {
        "studies": len(lines),
        "score": final,
        "se": error,
        "after_3": mean_and_error(lines, (at(line, 3) for line in lines))[0],
        "after_5": mean_and_error(lines, (at(line, 5) for line in lines))[0],
        "evaluations": float(np.mean(evaluations)),
        "rounds": float(np.mean([len(line["rounds"]) for line in lines])),
        "distinct": float(np.mean([line["distinct"] for line in lines])),
        "failed": float(np.mean([sum(score is None for score in line["scores"]) for line in lines])),
        "ask_median": float(np.median(asks)),
        "ask_max": max(asks),
        "ask_cpu_median": float(np.median(cpu)),
        "ask_cpu_max": max(cpu),
        "busy": float(np.mean([whole for whole, _ in busy])),
        "busy_to_last_start": float(np.mean([start for _, start in busy])),
        "time": float(np.mean([max(line["ended"]) for line in lines])),
    }


def split(lines: Iterable[Line], *names: str) -> dict[tuple[Any, ...], list[Line]]:
    """The lines by their values of `names`, in order of first appearance."""
    found = defaultdict(list)
    for line in lines:
        found[tuple(line[name] for name in names)].append(line)
    return dict(found)


def _write_csv(path: Path, lines: Sequence[Line], *names: str) -> list[dict[str, Any]]:
    rows = [
        dict(zip(names, values, strict=True)) | summarize(some)
        for values, some in split(lines, *names).items()
    ]
    rows.sort(key=lambda row: [row[name] for name in names if name != "method"] + [row["score"]])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()})
    return rows


def write(lines: Sequence[Line], out: Path) -> None:
    """Write table.csv, problems.csv and regret.png to `out`, and the table to the screen."""
    rows = _write_csv(out / "table.csv", lines, "group", "q", "budget", "durations", "method")
    _write_csv(out / "problems.csv", lines, "group", "problem", "q", "budget", "durations", "method")
    console = Console()
    if not console.is_terminal:
        console.width = 140  # a file has room
    for (group, q, budget, durations), some in split(rows, "group", "q", "budget", "durations").items():
        problems = len({line["problem"] for line in lines if line["group"] == group})
        title = f"{group} ({problems} problems), q = {q}, {budget} evaluations, {durations} durations"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("method", overflow="fold")
        for heading in HEADINGS:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in some:
            table.add_row(*_cells(row))
        console.print(table)
    draw(lines, out / "regret.png")
    console.print(f"table.csv, problems.csv and regret.png are in {out}", highlight=False)


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["method"],
        f"{row['studies']}",
        f"{row['score']:.2f}" + ("" if math.isnan(row["se"]) else f" ± {row['se']:.2f}"),
        f"{row['after_3']:.2f}",
        f"{row['after_5']:.2f}",
        f"{row['rounds']:.1f}",
        f"{row['distinct']:.1f}/{row['evaluations']:.1f}",
        f"{row['failed']:.1f}",
        f"{row['ask_median']:.2f} ({row['ask_max']:.2f})",
        f"{100 * row['busy']:.0f} / {100 * row['busy_to_last_start']:.0f}",
        f"{row['time']:.1f}",
    ]


def draw(lines: Sequence[Line], path: Path) -> None:
    """Write a PNG: mean score after each round ± standard error; groups across, (q, budget) down."""
    groups, widths = list(split(lines, "group")), sorted(split(lines, "q", "budget"))
    methods = [method for (method,) in split(lines, "method")]
    figure = Figure(figsize=(1.5 + 4.2 * len(groups), 1.2 + 3.4 * len(widths)), layout="constrained")
    panels = figure.subplots(len(widths), len(groups), squeeze=False, sharex="row")
    for (group,), column in zip(groups, panels.T, strict=True):
        for (q, budget), axes in zip(widths, column, strict=True):
            here = [
                line for line in lines if (line["group"], line["q"], line["budget"]) == (group, q, budget)
            ]
            for (method,), some in split(here, "method").items():
                number = methods.index(method)
                _draw_curve(
                    axes,
                    some,
                    color=f"C{number % 10}",
                    style=("-", "--", ":")[number // 10 % 3],
                    label=method,
                )
            axes.set(title=f"{group}, q = {q}", xlabel="rounds")
            axes.axhline(0, color="#bbbbbb", lw=0.8, zorder=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for row in panels:
        row[0].set_ylabel("log₁₀(regret / random-50 regret)")
    shown = {
        label: line
        for axes in panels.flat
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(shown.values(), shown, loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)


def _draw_curve(axes: Any, lines: Sequence[Line], *, color: str, style: str, label: str) -> None:
    """The studies' mean curve; one with fewer rounds than the longest stays where it ended."""
    rounds = range(1, max(len(curve(line)) for line in lines))
    means, errors = zip(
        *(mean_and_error(lines, [at(line, r) for line in lines]) for r in rounds), strict=True
    )
    mean, error = np.array(means), np.nan_to_num(np.array(errors))
    axes.plot(rounds, mean, style, color=color, label=label, lw=1.5)
    axes.fill_between(rounds, mean - error, mean + error, color=color, alpha=0.15, lw=0)
