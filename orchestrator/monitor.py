"""What a study is doing, for people and for programs: read from its ledger, without disturbing its master."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.executors.base import JobState
from orchestrator.history import History, Trial
from orchestrator.ledger import read
from orchestrator.run import RunDirectory
from orchestrator.summary import Summary, configuration_text, duration_s, outcome, seconds_text, value_text

STYLES = {"ok": "green", "running": "cyan", "submitted": "cyan", "shared": "dim", "waiting": "dim"}


def look(run: RunDirectory) -> Summary:
    """The study as its ledger says now; the algorithm's states are passed over."""
    return Summary(History.replay(read(run.ledger, states=False)))


def facts(run: RunDirectory, summary: Summary) -> dict[str, Any]:
    """The study in JSON values: what `status --json` prints."""
    history = summary.history
    return {
        "study": history.created["study"],
        "run": str(run.path),
        "algorithm": history.created["algorithm"],
        "objective": history.created["objective"],
        "state": _state(run, summary),
        "why": history.ended["message"] if history.ended else None,
        "rounds": len(history.rounds),
        "budget": history.created["budget"],
        "evaluated": summary.evaluated,
        "failed": summary.failed,
        "open": len(history.open_trials),
        "gpu_hours": round(summary.gpu_hours, 4),
        "seconds_left": summary.seconds_left,
        "incumbent": trial_facts(summary, summary.incumbent) if summary.incumbent else None,
        "base": trial_facts(summary, summary.base) if summary.base else None,
    }


def trial_facts(summary: Summary, trial: Trial) -> dict[str, Any]:
    """One trial in JSON values."""
    evaluation = summary.history.evaluation(trial)
    return {
        "trial": trial.number,
        "round": trial.round,
        "outcome": outcome(summary, trial),
        "configuration": trial.configuration,
        "shares": trial.shares,
        "attempts": len(trial.attempts),
        "metrics": {name: metric.model_dump() for name, metric in evaluation.metrics.items()}
        if evaluation
        else {},
        "message": evaluation.message if evaluation else "",
        "seconds": round(duration_s(evaluation), 3) if evaluation and trial.shares is None else None,
        "note": trial.note,
    }


def status_view(run: RunDirectory, summary: Summary) -> RenderableType:
    """A few lines: state, progress, incumbent, time left."""
    history = summary.history
    of = f" of {summary.budget}" if summary.budget else ""
    left = f", about {seconds_text(summary.seconds_left)} left" if not history.ended else ""
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "study", f"[bold]{history.created['study']}[/] ({history.created['algorithm']}) in {run.path}"
    )
    table.add_row("state", _state(run, summary) + (f": {history.ended['message']}" if history.ended else ""))
    counts = f"{summary.evaluated}{of} evaluated, {summary.failed} failed, {len(history.open_trials)} open"
    table.add_row("progress", f"{counts}, round {len(history.rounds)}{left}")
    table.add_row("spent", f"{summary.gpu_hours:.2f} GPU-hours")
    if (best := summary.incumbent) is not None:
        value = value_text(summary.objective(best))
        table.add_row("incumbent", f"trial {best.number}: [bold green]{summary.metric} {value}[/]")
        table.add_row("", configuration_text(best))
    if (base := summary.base) is not None and summary.objective(base) is not None:
        table.add_row("base model", f"{summary.metric} {value_text(summary.objective(base))}")
    return table


def trials_view(summary: Summary, last: int | None = None) -> Table:
    """The table of trials, the incumbent marked; `last` keeps the newest."""
    trials = summary.history.trials
    names = list(dict.fromkeys(name for trial in trials for name in trial.configuration))
    fixed = {
        n
        for n in names
        if len({repr(t.configuration.get(n)) for t in trials if t.suggestion is not None}) == 1
    }
    shown = [name for name in names if name not in fixed or len(trials) < 3]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("trial", "round", *shown):
        table.add_column(title, justify="right")
    for title in (summary.metric, *summary.reported):
        table.add_column(title, justify="right")
    for title in ("outcome", "time"):
        table.add_column(title)
    for trial in trials[-last:] if last else trials:
        evaluation = summary.history.evaluation(trial)
        word = outcome(summary, trial)
        cells = [_number(trial.configuration.get(name)) for name in shown]
        if trial.suggestion is None and shown:
            cells = ["base", *[""] * (len(shown) - 1)]
        metrics = evaluation.metrics if evaluation is not None and evaluation.failure is None else {}
        values = [value_text(metrics.get(name)) for name in (summary.metric, *summary.reported)]
        time_ = seconds_text(duration_s(evaluation)) if evaluation and trial.shares is None else ""
        if trial.shares is not None:
            word = f"shared with {trial.shares}"
        mark = "★ " if trial is summary.incumbent else ""
        style = "bold green" if mark else ""
        colour = STYLES.get(word.split()[0], "red")
        table.add_row(
            f"{mark}{trial.number}",
            str(trial.round + 1),
            *cells,
            *values,
            Text(word, colour),
            time_,
            style=style,
        )
    return table


def watch_view(run: RunDirectory, summary: Summary, rows: int) -> RenderableType:
    """The live screen: status, a bar, the newest trials."""
    parts: list[RenderableType] = [status_view(run, summary)]
    if summary.budget:
        parts.append(ProgressBar(total=summary.budget, completed=summary.evaluated))
    return Group(*parts, Text(), trials_view(summary, last=max(3, rows)))


def jobs(summary: Summary, states: Mapping[str, JobState]) -> list[dict[str, Any]]:
    """Jobs of this study under way: what the scheduler says beside what we know."""
    done = [d for t in summary.history.spent if t.evaluation and (d := duration_s(t.evaluation)) > 0]
    typical = statistics.median(done) if done else None
    rows = []
    for trial in summary.history.open_trials:
        if (attempt := trial.attempt) is None:
            continue
        state = states.get(attempt.job or "")
        running = state.running_s if state else None
        rows.append(
            {
                "trial": trial.number,
                "attempt": attempt.number,
                "job": attempt.job,
                "state": state.word or str(state.state) if state else "not asked",
                "reason": state.reason if state else "",
                "host": state.host if state else "",
                "since_submission_s": round(time.time() - attempt.submitted_at),
                "running_s": running,
                "expected_left_s": None
                if typical is None or running is None
                else max(0.0, typical - running),
            }
        )
    return rows


def jobs_view(rows: list[dict[str, Any]]) -> Table:
    """`queue` for people."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    titles = ("trial", "attempt", "job", "state", "reason", "host", "submitted", "running", "left")
    for title in titles:
        table.add_column(title)
    for row in rows:
        ages = [row[key] for key in ("since_submission_s", "running_s", "expected_left_s")]
        ago, *rest = ["" if age is None else seconds_text(age) for age in ages]
        cells = [str(row[key] or "") for key in ("job", "state", "reason", "host")]
        table.add_row(str(row["trial"]), str(row["attempt"]), *cells, f"{ago} ago", *rest)
    return table


def _state(run: RunDirectory, summary: Summary) -> str:
    if (ended := summary.history.ended) is not None:
        return {"done": "done", "failed": "stopped", "cancelled": "cancelled"}[ended["why"]]
    return "running" if run.master_is_running() else "no master (go on with `orchestrator resume`)"


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
