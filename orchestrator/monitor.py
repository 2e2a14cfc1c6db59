"""What a study is doing, for people and for programs: read from its ledger, without disturbing its master."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.executors.base import JobState
from orchestrator.history import History, Trial
from orchestrator.ledger import read
from orchestrator.run import RunDirectory
from orchestrator.summary import (
    Summary,
    configuration_text,
    duration_s,
    number_text,
    outcome,
    seconds_text,
    value_text,
)

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
        "ask": trial.ask,
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
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "study",
        f"[bold]{history.created['study']}[/] ({history.created['algorithm']}) in {escape(str(run.path))}",
    )
    why = f": {escape(history.ended['message'])}" if history.ended else ""
    table.add_row("state", f"{_state(run, summary)}{why}")
    counts = f"{summary.evaluated}{of} evaluated, {summary.failed} failed, {len(history.open_trials)} open"
    table.add_row("progress", f"{counts}{summary.left_text}")
    table.add_row("spent", summary.spent_text)
    if (best := summary.incumbent) is not None:
        value = value_text(summary.objective(best))
        table.add_row("incumbent", f"trial {best.number}: [bold green]{escape(summary.metric)} {value}[/]")
        table.add_row("", escape(configuration_text(best)))
    if (base := summary.base) is not None and summary.objective(base) is not None:
        table.add_row("base model", f"{escape(summary.metric)} {value_text(summary.objective(base))}")
    return table


def trials_view(run: RunDirectory, summary: Summary, last: int | None = None) -> Table:
    """The table of trials, the incumbent marked; `last` keeps the newest. Fixed values are left out."""
    searched = [trial for trial in summary.history.trials if trial.suggestion is not None]
    every = dict.fromkeys(name for trial in searched for name in trial.configuration)
    values = {name: {repr(t.configuration.get(name)) for t in searched} for name in every}
    names = [name for name in values if len(values[name]) > 1 or len(searched) == 1]
    metrics = (summary.metric, *summary.reported)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("trial", *names, *metrics):
        # Titles are broken to keep the columns narrow; numbers never.
        broken = Text(title.replace("_", "\n").replace("/", "/\n"))
        table.add_column(broken, justify="right", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("time", no_wrap=True, justify="right")
    for trial in summary.history.trials[-last:] if last else summary.history.trials:
        evaluation = summary.history.evaluation(trial)
        best = trial is summary.incumbent
        word = _word(run, summary, trial)
        base = ["base", *[""] * (len(names) - 1)] if names else []
        cells = (
            [number_text(trial.configuration.get(name, "")) for name in names]
            if trial.suggestion is not None
            else base
        )
        scored = evaluation.metrics if evaluation is not None and evaluation.failure is None else {}
        own = evaluation is not None and trial.shares is None
        table.add_row(
            f"★ {trial.number}" if best else str(trial.number),
            *map(escape, cells),
            *[value_text(scored.get(name)) for name in metrics],
            Text(word, STYLES.get(word.split()[0], "red")),
            seconds_text(duration_s(evaluation)) if evaluation is not None and own else "",
            style="bold green" if best else "",
        )
    return table


def watch_view(run: RunDirectory, summary: Summary, rows: int) -> RenderableType:
    """The live screen: status, a bar, the newest trials."""
    parts: list[RenderableType] = [status_view(run, summary)]
    if summary.budget:
        parts.append(ProgressBar(total=summary.budget, completed=summary.evaluated))
    return Group(*parts, Text(), trials_view(run, summary, last=max(3, rows)))


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
        cells = [escape(str(row[key] or "")) for key in ("job", "state", "reason", "host")]
        table.add_row(str(row["trial"]), str(row["attempt"]), *cells, f"{ago} ago", *rest)
    return table


def _state(run: RunDirectory, summary: Summary) -> str:
    if (ended := summary.history.ended) is not None:
        return {"done": "done", "failed": "stopped", "cancelled": "cancelled"}[ended["why"]]
    return "running" if run.master_is_running() else "no master (go on with `orchestrator resume`)"


def _word(run: RunDirectory, summary: Summary, trial: Trial) -> str:
    """Where a trial stands, for people: a job that has claimed its attempt is running."""
    if trial.shares is not None:
        return f"shared with {trial.shares}"
    attempt = trial.attempt
    if attempt is not None and (run.attempt(trial.number, attempt.number) / "claim.json").exists():
        return "running"
    return outcome(summary, trial)
