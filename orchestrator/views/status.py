"""What a study is doing, for people and for programs: read from its ledger, without disturbing its master."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.contract import Failure
from orchestrator.contract.attempt import CLAIM
from orchestrator.record import History, RunDirectory, Summary, Trial
from orchestrator.record.facts import Why
from orchestrator.record.lock import Link, is_resumed
from orchestrator.record.summary import (
    configuration_text,
    duration_s,
    number_text,
    outcome,
    seconds_text,
    value_text,
)

STYLES = {"ok": "green", "running": "cyan", "submitted": "cyan", "shared": "dim", "waiting": "dim"}


def status_facts(run: RunDirectory, summary: Summary) -> dict[str, Any]:
    """The study in JSON values: what `status --json` prints."""
    history = summary.history
    return {
        "study": history.created.study,
        "run": str(run.path),
        "algorithm": history.created.algorithm,
        "objective": history.created.objective.model_dump(mode="json"),
        "state": _state(run, summary),
        "master": _master_facts(run),
        "why": history.ended.message if history.ended else None,
        "budget": history.budget.model_dump(mode="json"),
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
        "shares": trial.same_as,
        "attempts": len(trial.attempts),
        "metrics": {name: metric.model_dump() for name, metric in evaluation.metrics.items()}
        if evaluation
        else {},
        "message": evaluation.message if evaluation else "",
        "seconds": round(duration_s(evaluation), 3) if evaluation and trial.same_as is None else None,
        "note": trial.note,
    }


def status_view(run: RunDirectory, summary: Summary) -> RenderableType:
    """A few lines: state, progress, incumbent, time left."""
    history = summary.history
    of = f" of {summary.budget}" if summary.budget else ""
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "study",
        f"[bold]{history.created.study}[/] ({history.created.algorithm}) in {escape(str(run.path))}",
    )
    state = _state(run, summary)
    said = history.ended is not None and state in {"done", "stopped", "cancelled"}
    why = f": {escape(history.ended.message)}" if history.ended and said else ""
    table.add_row("state", f"{state}{why}")
    if master := _master(run, summary):
        table.add_row("master", escape(master))
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
        own = evaluation is not None and trial.same_as is None
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


def news(before: Summary, after: Summary) -> str:
    """What happened between two looks, in one line; empty if nothing did."""
    old, new = _counts(before.history), _counts(after.history)
    parts = [f"{new[what] - old[what]} {what}" for what in new if new[what] > old[what]]
    if not parts and after.history.ended is None:
        return ""
    of = f" of {after.budget}" if after.budget else ""
    parts.append(f"{after.evaluated}{of} done{after.left_text}")
    if (best := after.incumbent) is not None:
        parts.append(f"best {after.metric} {value_text(after.objective(best))} (trial {best.number})")
    if after.history.ended is not None:
        parts.append(f"ended: {after.history.ended.message}")
    return f"{after.history.created.study}: {'; '.join(parts)}"


def _counts(history: History) -> dict[str, int]:
    attempts = [attempt for trial in history.trials for attempt in trial.attempts]
    failed = sum(isinstance(a.ended, Failure) for a in attempts)
    return {
        "evaluated": len(history.evaluations),
        "to be tried again": failed,
        "asked for": len(history.trials),
        "submitted": sum(a.job is not None for a in attempts),
    }


def _state(run: RunDirectory, summary: Summary) -> str:
    ended = summary.history.ended
    if ended is not None and (ended.is_done or not is_resumed(run)):
        return "stopped" if ended.why is Why.FAILED else str(ended.why)
    if run.master_is_running():
        return "running"
    if _waiting_job(run):
        return "waiting for its master's job"
    return "no master (`orchestrator resume`, or the next `tick`, goes on)"


def _waiting_job(run: RunDirectory) -> str | None:
    """The scheduler's id of the newest link of its master's chain, as far as it is written down."""
    link = Link.newest(run)
    return link.job if link is not None else None


def _master(run: RunDirectory, summary: Summary) -> str:
    """Where the master is, for people; empty if it is said otherwise."""
    if (ended := summary.history.ended) is not None and ended.is_done:
        return ""
    master, waiting = run.master(), _waiting_job(run)
    if master is not None and run.master_is_running():
        next_job = f"; job {waiting} follows it" if waiting and waiting != master.job else ""
        return str(master) + next_job
    return f"job {waiting} is to go on with it: see `orchestrator queue`" if waiting else ""


def _master_facts(run: RunDirectory) -> dict[str, Any] | None:
    """Who runs the study, and which job is to go on; None: nobody."""
    holder = run.master() if run.master_is_running() else None
    job = _waiting_job(run) or None
    if holder is None and job is None:
        return None
    return {"holder": asdict(holder) if holder else None, "next_job": job}


def _word(run: RunDirectory, summary: Summary, trial: Trial) -> str:
    """Where a trial stands, for people: a job that has claimed its attempt is running."""
    if trial.same_as is not None:
        return f"shared with {trial.same_as}"
    attempt = trial.attempt
    if attempt is not None and (run.attempt(trial.number, attempt.number) / CLAIM).exists():
        return "running"
    return outcome(summary, trial)
