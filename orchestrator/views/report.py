"""The report of a study, from its ledger: Markdown, CSV and one figure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator.contract import publish
from orchestrator.record import RunDirectory, Summary, Trial
from orchestrator.record.summary import configuration_text, duration_s, outcome, seconds_text, value_text
from orchestrator.views.figure import draw_progress

_COLUMNS = {"trial", "ask", "outcome", "shares", "seconds", "started", "ended", "host", "device", "message"}


def write_report(run: RunDirectory, summary: Summary) -> Path:
    """Write report.md, trials.csv and progress.png to the run's report directory; return report.md."""
    run.report.mkdir(exist_ok=True)
    _table(summary).to_csv(run.report / "trials.csv", index=False)
    draw_progress(summary, run.report / "progress.png")
    path = run.report / "report.md"
    publish(path, _markdown(summary))
    return path


def _table(summary: Summary) -> pd.DataFrame:
    rows = []
    names = dict.fromkeys(name for trial in summary.history.trials for name in trial.configuration)
    for trial in summary.history.trials:
        evaluation = summary.history.evaluation(trial)
        row: dict[str, Any] = {"trial": trial.number, "ask": trial.ask + 1}
        row |= {_column(name, "param"): trial.configuration.get(name) for name in names}
        row["outcome"] = outcome(summary, trial)
        row["shares"] = trial.same_as
        if evaluation is not None:
            for name, metric in evaluation.metrics.items():
                column = f"metric:{name}" if name in names else _column(name, "metric")
                row[column] = metric.value
                row[f"{column}_stderr"] = metric.stderr
            row["seconds"] = duration_s(evaluation) if trial.same_as is None else 0.0
            row["started"], row["ended"] = _moment(evaluation.started_at), _moment(evaluation.ended_at)
            row["host"], row["device"] = evaluation.host, evaluation.device
            row["message"] = evaluation.message
        rows.append(row)
    return pd.DataFrame(rows, dtype=object)  # a whole number stays one beside an empty cell


def _moment(at: float | None) -> str | None:
    """A moment as ISO 8601 has it, with the zone of this host; None if it is not known."""
    return None if at is None else datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")


def _column(name: str, kind: str) -> str:
    """The name of a parameter's or metric's column; one that the table has already is told by its kind."""
    return f"{kind}:{name}" if name in _COLUMNS else name


def _markdown(summary: Summary) -> str:
    history = summary.history
    created, best = history.created, summary.incumbent
    minimized = created.objective.direction == "minimize"
    lines = [
        f"# {created.study}",
        "",
        (
            f"{created.algorithm}, seed {created.seed}, {summary.evaluated} evaluations "
            f"({summary.failed} failed), {summary.spent_text}; "
            f"{summary.metric} is {'minimized' if minimized else 'maximized'}."
        ),
        "",
    ]
    if history.ended is None:
        lines += ["The study has not ended: this is where it stands.", ""]
    else:
        lines += [f"Ended: {history.ended.message}.", ""]
    if best is not None:
        lines += [
            "## Best configuration",
            "",
            f"Trial {best.number}: **{summary.metric} {value_text(summary.objective(best))}**",
            "",
        ]
        lines += [
            "```toml",
            *[f"{_toml_key(name)} = {_toml(value)}" for name, value in best.configuration.items()],
            "```",
            "",
        ]
        lines += [_noise(summary, best), ""]
        if (base := summary.base) is not None:
            lines += [f"Base model, untouched: {summary.metric} {value_text(summary.objective(base))}.", ""]
    lines += ["![objective by evaluation](progress.png)", "", "## Trials", ""]
    titles = ["trial", "configuration", summary.metric, *summary.reported, "outcome", "time"]
    lines += [_table_row(titles), "|" + "---|" * len(titles)]
    lines += [_table_row(_row(summary, trial)) for trial in history.trials]
    failures = [(t, e) for t in history.trials if t.same_as is None and (e := t.evaluation) and e.failure]
    if failures:
        lines += ["", "## Failures", ""]
        lines += [f"- trial {trial.number}: {e.failure}: {e.message}" for trial, e in failures]
    return "\n".join([*lines, ""])


def _noise(summary: Summary, best: Trial) -> str:
    """How far the incumbent is ahead, in the noise of the measurement."""
    top = summary.objective(best)
    second = summary.best([t for t in summary.history.spent if t is not best])
    if top is None or not top.stderr:
        return (
            "The objective came without a standard error: how sure the order of the best is, cannot be said."
        )
    if second is None or (value := summary.objective(second)) is None:
        return "No second trial to compare it with."
    error = (top.stderr**2 + (value.stderr or 0.0) ** 2) ** 0.5
    gap = abs(top.value - value.value) / error
    verdict = "clearly ahead" if gap > 2 else "not to be told apart from it by this measurement"
    return (
        f"The second best, trial {second.number} at {value_text(value)}, lies {gap:.1f} standard errors "
        f"of the difference away: the best is {verdict}. (Errors taken as independent; trials that share "
        "their documents differ by less.)"
    )


def _row(summary: Summary, trial: Trial) -> list[str]:
    evaluation = summary.history.evaluation(trial)
    metrics = evaluation.metrics if evaluation is not None and evaluation.failure is None else {}
    values = [value_text(metrics.get(name)) for name in (summary.metric, *summary.reported)]
    mark = "★ " if trial is summary.incumbent else ""
    word = outcome(summary, trial) if trial.same_as is None else f"shared with {trial.same_as}"
    time_ = seconds_text(duration_s(evaluation)) if evaluation and trial.same_as is None else ""
    return [f"{mark}{trial.number}", configuration_text(trial), *values, word, time_]


def _table_row(cells: Sequence[str]) -> str:
    """A row of a Markdown table, in which a bar or a line end is no end of a cell."""
    return f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |"


def _toml_key(name: str) -> str:
    """`name` as a key; one that is not bare is quoted."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | str) else repr(value)
