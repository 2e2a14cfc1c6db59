"""A study's jobs as the scheduler sees them, beside what we know; and where the hours went so far."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.attempts.permission import Permission
from orchestrator.config import ClusterProfile
from orchestrator.executors import JobState, State
from orchestrator.record import Attempt, History, Summary, Trial
from orchestrator.record.summary import duration_s, seconds_text
from orchestrator.views.hours import hours

_STYLES = {State.RUNNING: "cyan", State.PENDING: "", State.UNKNOWN: "dim"}


def typical_s(history: History) -> float | None:
    """Median of the seconds that evaluations took: of those with a score, if there are any."""
    ran = [(e.failure is None, d) for t in history.spent if (e := t.evaluation) and (d := duration_s(e)) > 0]
    taken = [seconds for scored, seconds in ran if scored] or [seconds for _, seconds in ran]
    return statistics.median(taken) if taken else None


def jobs(summary: Summary, states: Mapping[str, JobState], now: float | None = None) -> list[dict[str, Any]]:
    """The study's jobs under way, in JSON values; times in seconds, moments in seconds since the epoch."""
    at = time.time() if now is None else now
    typical = typical_s(summary.history)
    return [
        _job(trial, attempt, states.get(attempt.job or ""), typical, at)
        for trial in summary.history.open_trials
        if (attempt := trial.attempt) is not None
    ]


def _job(
    trial: Trial, attempt: Attempt, state: JobState | None, typical: float | None, now: float
) -> dict[str, Any]:
    running_s = state.running_s if state is not None and state.state is not State.PENDING else None
    end_at = None if typical is None or running_s is None else now - running_s + typical
    return {
        "trial": trial.number,
        "attempt": attempt.number,
        "job": attempt.job,
        "host": state.host if state else "",
        "state": str(state.state) if state else "not asked",
        "word": state.word if state else "",
        "reason": state.reason if state else "",
        "remedy": state.remedy if state else "",
        "waited_s": round(max(0.0, now - attempt.submitted_at - (running_s or 0.0)), 1),
        "running_s": running_s,
        "expected_end_at": end_at,
        "late": end_at is not None and end_at < now,
    }


def without_job(summary: Summary, profile: ClusterProfile, states: Mapping[str, JobState]) -> str:
    """How many trials have no job yet, and why if the charter holds them back; empty if all have one."""
    count = sum(trial.attempt is None for trial in summary.history.open_trials)
    if not count or summary.history.ended is not None:
        return ""
    what = f"{count} trial{'s' * (count > 1)} not submitted yet"
    _, verdict = Permission(profile, summary.history).granted(1, profile.walltime_min, states)
    if verdict.allowed:
        return what
    when = f"until {verdict.until:%a %d %b %H:%M}" if verdict.until else "for good"
    return f"{what}, held back by the charter {when}: {verdict.why}"


def queue_facts(
    summary: Summary, rows: Sequence[dict[str, Any]], masters: Sequence[dict[str, Any]], waiting: str = ""
) -> dict[str, Any]:
    """What `queue --json` prints; `waiting`: what `without_job` says."""
    spent = hours(summary.history)
    return {
        "study": summary.history.created.study,
        "jobs": list(rows),
        "waiting": waiting,
        "master_jobs": list(masters),
        "typical_s": typical_s(summary.history),
        "host_hours": {name: round(value, 4) for name, value in asdict(spent).items()},
    }


def queue_view(
    summary: Summary, rows: Sequence[dict[str, Any]], masters: Sequence[dict[str, Any]], waiting: str = ""
) -> RenderableType:
    """`queue` for people; `waiting`: what `without_job` says."""
    parts: list[RenderableType] = [_table(rows) if rows else Text("no jobs under way")]
    parts += [Text(line, "yellow") for line in _stuck(rows)]
    parts += [Text(waiting)] * bool(waiting)
    for master in masters:
        where = f" on {master['host']}" if master["host"] else ""
        why = f": {master['reason']}" if master["reason"] else ""
        parts.append(Text(f"master: job {master['job']} {master['state']}{where}{why}"))
    parts.append(Text(f"so far {hours(summary.history)}"))
    return Group(*parts)


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("trial", "attempt", "job", "host", "state", "reason", "waited", "running", "ends"):
        table.add_column(title, no_wrap=title != "reason")
    for row in rows:
        table.add_row(
            str(row["trial"]),
            str(row["attempt"]),
            escape(row["job"] or ""),
            escape(row["host"]),
            escape(row["word"] or row["state"]),
            escape(row["reason"]),
            seconds_text(row["waited_s"]),
            "" if row["running_s"] is None else seconds_text(row["running_s"]),
            "late" if row["late"] else moment_text(row["expected_end_at"]),
            style="yellow" if row["remedy"] else _STYLES.get(row["state"], "dim"),
        )
    return table


def _stuck(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each reason why jobs will never start, and what to do."""
    stuck: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["remedy"]:
            stuck.setdefault((row["reason"], row["remedy"]), []).append(row["job"])
    return [
        f"{_named(names)} will not start without you ({reason}): {remedy}"
        for (reason, remedy), names in stuck.items()
    ]


def _named(jobs: Sequence[str]) -> str:
    names = list(dict.fromkeys(jobs))  # trials may share one
    some = ", ".join(names[:3])
    more = f", … ({len(names)})" if len(names) > 3 else ""
    return f"job{'s' * (len(names) > 1)} {some}{more}"


def moment_text(at: float | None) -> str:
    """`14:05`, with the day if it is not today's; empty for None."""
    if at is None:
        return ""
    moment, today = datetime.fromtimestamp(at).astimezone(), datetime.now().astimezone()
    return moment.strftime("%H:%M" if moment.date() == today.date() else "%a %d %b %H:%M")
