"""When the site's charter lets this study's jobs run, and which of those that wait must be withdrawn."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

from orchestrator.attempts.gather import Pending
from orchestrator.config import ClusterProfile
from orchestrator.config.charter import Verdict
from orchestrator.executors import JobState, State
from orchestrator.record import Attempt, History

Span = tuple[dt.datetime, dt.datetime, int]  # start, end, hosts
_ALLOWED = Verdict(allowed=True)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Permission:
    """The profile's charter, applied to the attempts of one study."""

    def __init__(
        self, profile: ClusterProfile, history: History, now: Callable[[], dt.datetime] = _now
    ) -> None:
        charter = profile.charter
        self._charter = charter if charter is not None and charter.binds(profile.options) else None
        self._profile, self._history, self._now = profile, history, now

    def granted(self, jobs: int, walltime_min: float, states: Mapping[str, JobState]) -> tuple[int, Verdict]:
        """How many of so many jobs may be submitted now, and what is said of the first that may not.

        Args:
            jobs: wanted.
            walltime_min: of each.
            states: of the study's jobs.
        """
        if self._charter is None:
            return jobs, _ALLOWED
        now, hosts = self._now(), self._profile.hosts
        spans = self._spans(now, states)
        end = now + dt.timedelta(minutes=walltime_min)
        for granted in range(jobs):
            used = self._charter.host_hours_today(now, spans)
            verdict = self._charter.verdict(now, walltime_min, hosts, used)
            if not verdict.allowed:
                return granted, verdict
            spans.append((now, end, hosts))
        return jobs, _ALLOWED

    def revoked(
        self, pending: Sequence[Pending], states: Mapping[str, JobState]
    ) -> list[tuple[Pending, Verdict]]:
        """Jobs that wait in the queue and must not start any more."""
        if self._charter is None:
            return []
        now = self._now()
        revoked = []
        for p in pending:
            state = states.get(p.job)
            if state is None or state.state is not State.PENDING:
                continue
            attempt = self._history.trials[p.trial].attempts[p.attempt - 1]
            used = self._charter.host_hours_today(now, self._spans(now, states, but=attempt))
            verdict = self._charter.verdict(now, self._walltime_min(attempt), self._profile.hosts, used)
            if not verdict.allowed:
                revoked.append((p, verdict))
        return revoked

    def _spans(
        self, now: dt.datetime, states: Mapping[str, JobState], but: Attempt | None = None
    ) -> list[Span]:
        """When the study's jobs ran; one under way runs to its wall-time, one that waits starts now."""
        jobs: dict[object, list[Attempt]] = {}
        for attempt in (a for trial in self._history.trials for a in trial.attempts):
            if but is None or attempt.job_key != but.job_key:
                jobs.setdefault(attempt.job_key, []).append(attempt)
        spans = []
        for attempts in jobs.values():
            if (going_on := next((a for a in attempts if a.ended is None), None)) is not None:
                state = states.get(going_on.job or "")
                ran_s = (state.running_s or 0.0) if state and state.state is State.RUNNING else 0.0
                start = now - dt.timedelta(seconds=ran_s)
                end = start + dt.timedelta(minutes=self._walltime_min(going_on))
                spans.append((start, end, self._profile.hosts))
            elif ran := [(a.started_at, a.ended_at) for a in attempts if a.started_at and a.ended_at]:
                start, end = _at(min(start for start, _ in ran)), _at(max(end for _, end in ran))
                spans.append((start, end, self._profile.hosts))
        return spans

    def _walltime_min(self, attempt: Attempt) -> float:
        return attempt.walltime_min or self._profile.walltime_min


def _at(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
