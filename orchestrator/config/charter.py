"""A site's charter of use, as data of a profile: when a job may run, and how much of a day a user may take.

**The rule.** Between `day_start` and `day_end` of a working day it is day; all else, weekends and holidays
too, is one long night. A job may be submitted while, were it to start within the next `margin_min`, it would
end before the next change of day and night, and while the day's quota has room for its whole wall-time.
Nights have no quota.

**A job that waits.** The charter speaks of when jobs run, and a job may start long after it was submitted. So
the verdict is asked again at every look at the jobs, for each one that still waits: it is withdrawn once the
verdict is no, and submitted again at `until`. `margin_min` covers the time between two looks.

**Its limits.** While no master looks (it was stopped, or `tick` comes rarely) nobody withdraws a waiting job:
let the scheduler hold such jobs back itself (on Grid'5000 the type `night`), and name that option under
`exempt`. The quota counts this study alone: what a user runs besides is for him to take off.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from orchestrator.contract.strict import Many, Section

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_WEEK: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_YEAR = dt.timedelta(days=366)  # so far is looked ahead
_SLACK_H = 1e-9  # of a sum of hours


def _time_of_day(text: str) -> str:
    try:
        at = dt.time.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is not None:
        raise ValueError('must be a time of day like "09:00"')
    return text


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found is a KeyError
        raise ValueError('must be a time zone known here, like "Europe/Paris"') from None
    return name


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a job may be submitted now.

    Attributes:
        allowed: it may.
        until: if not, when it may be, in the charter's time zone; None: never.
        why: if not, for people.
    """

    allowed: bool
    until: dt.datetime | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Period:
    """One day or one night, in UTC; `end` None: for good."""

    start: dt.datetime
    end: dt.datetime | None


class Charter(Section):
    """The `[charter]` section; see the module for the rule."""

    timezone: Annotated[str, AfterValidator(_time_zone)]
    day_start: Annotated[str, AfterValidator(_time_of_day)] = "09:00"
    day_end: Annotated[str, AfterValidator(_time_of_day)] = "19:00"
    working_days: Many[Weekday] = ("mon", "tue", "wed", "thu", "fri")
    holidays: Many[dt.date] = ()  # 2026-12-25, without quotes: no working days
    no_crossing: bool = True  # no job runs across day_start or day_end of a working day
    daily_host_hours: Annotated[float, Field(ge=0)] | None = None  # by day, per user; None: no quota
    daily_core_hours: Annotated[float, Field(ge=0)] | None = None  # the same, as a site counts it
    cores_per_host: Annotated[int, Field(ge=1)] | None = None
    margin_min: Annotated[float, Field(ge=0)] = 5.0  # a job may start so much after it was submitted
    exempt: Many[str] = ()  # values of options whose jobs are free, or held back by the scheduler itself

    @model_validator(mode="after")
    def _day_begins_before_it_ends(self) -> Charter:
        if dt.time.fromisoformat(self.day_start) >= dt.time.fromisoformat(self.day_end):
            raise ValueError(
                f'day_start "{self.day_start}" must be before day_end "{self.day_end}", on the same date'
            )
        return self

    @model_validator(mode="after")
    def _one_quota(self) -> Charter:
        if self.daily_core_hours is not None and self.daily_host_hours is not None:
            raise ValueError("give either `daily_host_hours` or `daily_core_hours`")
        if (self.daily_core_hours is None) != (self.cores_per_host is None):
            raise ValueError("`daily_core_hours` and `cores_per_host` go together")
        return self

    @property
    def quota_host_hours(self) -> float | None:
        """Host-hours that a user may take by day; None: as many as he likes."""
        if self.daily_core_hours is None or self.cores_per_host is None:
            return self.daily_host_hours
        return self.daily_core_hours / self.cores_per_host

    def binds(self, options: Mapping[str, object]) -> bool:
        """False if jobs with these scheduler options are exempt."""
        words = {word for value in options.values() for word in re.split(r"[\s,]+", str(value))}
        return not words & set(self.exempt)

    def verdict(
        self, now: dt.datetime, walltime_min: float, hosts: int, used_host_hours_today: float
    ) -> Verdict:
        """Whether a job may be submitted, or go on waiting, now.

        Args:
            now: with a time zone.
            walltime_min: of the job; it counts whole.
            hosts: of the job.
            used_host_hours_today: by day, what other jobs of today took or may yet take: `host_hours_today`.
        """
        now = now.astimezone(dt.UTC)
        today = now.astimezone(self._zone).date()
        periods = self._periods(now)
        here = next(periods)
        used = {today: used_host_hours_today}
        if not (why := self._objection(here, walltime_min, hosts, used)):
            return Verdict(allowed=True)
        for period in periods:
            if not self._objection(period, walltime_min, hosts, used):
                return Verdict(allowed=False, until=period.start.astimezone(self._zone), why=why)
        return Verdict(allowed=False, why=self.never(walltime_min, hosts) or why)

    def never(self, walltime_min: float, hosts: int) -> str:
        """Why such a job fits into no ordinary week, and what to do; empty if it fits."""
        if not self.working_days:
            return ""
        monday = dt.date(2024, 1, 1)  # a week on which no clock is changed
        plain = self.model_copy(update={"holidays": (), "timezone": "UTC"})
        midnight = dt.datetime.combine(monday, dt.time(), dt.UTC)
        week = [p for p in plain._periods(midnight) if p.start < midnight + dt.timedelta(days=15)]  # noqa: SLF001
        if any(not plain._objection(p, walltime_min, hosts, {}) for p in week[1:]):  # noqa: SLF001
            return ""
        longest = max((p.end - p.start).total_seconds() / 60 for p in week[1:] if p.end is not None)
        longest -= self.margin_min
        if not self.no_crossing or walltime_min <= longest:  # it is the quota, then
            return (
                f"{self._asked(walltime_min, hosts)} exceed the quota of {self.quota_host_hours:g}, and "
                "no night is as long: shorten it, or use options that the charter exempts"
            )
        return (
            f"{walltime_min:g} min fit into no day and no night of the charter, {longest:g} at the most: "
            "shorten it, or use options that the charter exempts"
        )

    def host_hours_today(
        self, now: dt.datetime, jobs: Iterable[tuple[dt.datetime, dt.datetime, int]]
    ) -> float:
        """Host-hours within today's day of jobs, each as (start, end, hosts).

        A job under way ends with its wall-time, one that waits starts now: what they may yet take counts.
        """
        day = self._day(now.astimezone(self._zone).date())
        if day is None:
            return 0.0
        return sum(hosts * _common_h(start, end, day) for start, end, hosts in jobs)

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def _day(self, date: dt.date) -> Period | None:
        """The working day of a date; None if it is none."""
        if _WEEK[date.weekday()] not in self.working_days or date in self.holidays:
            return None
        start, end = (
            dt.datetime.combine(date, dt.time.fromisoformat(clock), self._zone).astimezone(dt.UTC)
            for clock in (self.day_start, self.day_end)
        )
        return Period(start, end)

    def _periods(self, now: dt.datetime) -> Iterator[Period]:
        """The period that `now` is in, cut off before it, then those that follow, for a year."""
        reached, date = now, now.astimezone(self._zone).date()
        if not self.working_days:
            yield Period(now, None)
            return
        last = max(date, *self.holidays) if self.holidays else date
        while date < last + _YEAR:
            day = self._day(date)
            date += dt.timedelta(days=1)
            if day is None or day.end is None or day.end <= reached:
                continue
            if day.start > reached:
                yield Period(reached, day.start)
            yield Period(max(day.start, reached), day.end)
            reached = day.end

    def _objection(
        self, period: Period, walltime_min: float, hosts: int, used_h: Mapping[dt.date, float]
    ) -> str:
        """Why a job that starts with the period is not allowed; empty if it is."""
        walltime = dt.timedelta(minutes=walltime_min)
        start, end = period.start, period.start + walltime + dt.timedelta(minutes=self.margin_min)
        if self.no_crossing and period.end is not None and end > period.end:
            return (
                f"{walltime_min:g} min, with a margin of {self.margin_min:g}, would run across "
                f"{period.end.astimezone(self._zone):%a %H:%M} ({self.timezone}), which the charter forbids"
            )
        quota, date = self.quota_host_hours, start.astimezone(self._zone).date()
        while quota is not None and dt.datetime.combine(date, dt.time(), self._zone) < start + walltime:
            day, used = self._day(date), used_h.get(date, 0.0)
            taken = hosts * _common_h(start, start + walltime, day) if day is not None else 0.0
            if taken > _SLACK_H and used + taken > quota + _SLACK_H:
                return (
                    f"{self._asked(walltime_min, hosts)}, and {used:.3g} taken already, are beyond the "
                    f"charter's {quota:g} a day"
                )
            date += dt.timedelta(days=1)
        return ""

    @staticmethod
    def _asked(walltime_min: float, hosts: int) -> str:
        return f"{hosts * walltime_min / 60:.3g} host-hours ({hosts} × {walltime_min:g} min)"


def _common_h(start: dt.datetime, end: dt.datetime, period: Period) -> float:
    """Hours that lie both between `start` and `end` and in the period."""
    last = end if period.end is None else min(end, period.end)
    return max(0.0, (last - max(start, period.start)).total_seconds() / 3600)
