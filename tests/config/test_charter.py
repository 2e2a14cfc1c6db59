"""The charter of use: what may start now, and if not now, when."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.config.charter import Charter

PARIS = ZoneInfo("Europe/Paris")
MINUTE = dt.timedelta(minutes=1)


def charter(**fields: Any) -> Charter:
    return Charter(**{"timezone": "Europe/Paris", "margin_min": 0.0, **fields})


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=PARIS)


GRID5000 = charter(
    daily_core_hours=512, cores_per_host=32, holidays=(dt.date(2026, 12, 25),)
)  # 16 host-hours


@pytest.mark.parametrize(
    ("now", "walltime_min", "until"),
    [
        ("2026-11-23T10:00", 60, None),  # a Monday
        ("2026-11-23T18:00", 60, None),  # ends on the stroke of 19:00
        ("2026-11-23T18:01", 60, "2026-11-23T19:00"),
        ("2026-11-23T19:00", 14 * 60, None),
        ("2026-11-23T19:01", 14 * 60, "2026-11-24T19:00"),
        ("2026-11-23T23:30", 60, None),  # across midnight
        ("2026-11-23T08:30", 60, "2026-11-23T09:00"),
        ("2026-11-27T19:00", 62 * 60, None),  # Friday to Monday
        ("2026-11-23T10:00", 62 * 60, "2026-11-27T19:00"),
        ("2026-11-28T12:00", 60, None),
        ("2026-12-24T19:00", 86 * 60, None),  # the holiday on Friday lengthens the weekend
        ("2026-12-25T12:00", 8 * 60, None),
        ("2026-03-27T19:00", 61 * 60, None),  # the clock goes forward: an hour less …
        ("2026-03-27T19:00", 61 * 60 + 1, "2026-04-03T19:00"),
        ("2026-10-23T19:00", 63 * 60, None),  # … and back: an hour more
    ],
)
def test_no_job_runs_across_the_change_of_day_and_night(
    now: str, walltime_min: float, until: str | None
) -> None:
    verdict = GRID5000.verdict(at(now), walltime_min, 1, 0.0)
    assert (verdict.allowed, verdict.until) == (until is None, until and at(until))
    assert bool(verdict.why) is not verdict.allowed


def test_a_job_may_start_late_by_the_margin() -> None:
    with_margin = charter(margin_min=10)
    assert with_margin.verdict(at("2026-11-23T17:50"), 60, 1, 0.0).allowed
    refused = with_margin.verdict(at("2026-11-23T17:51"), 60, 1, 0.0)
    assert refused.until == at("2026-11-23T19:00")
    assert "60 min, with a margin of 10, would run across Mon 19:00 (Europe/Paris)" in refused.why


def test_the_quota_of_a_day_counts_whole_wall_times_and_nights_have_none() -> None:
    now = at("2026-11-23T10:00")
    assert GRID5000.verdict(now, 120, 8, 0.0).allowed
    over = GRID5000.verdict(now, 120, 8, 0.5)
    assert (over.allowed, over.until) == (False, at("2026-11-23T19:00"))
    assert "16 host-hours (8 × 120 min), and 0.5 taken already, are beyond the charter's 16 a day" in over.why
    assert GRID5000.verdict(at("2026-11-23T20:00"), 600, 8, 99.0).allowed
    assert GRID5000.verdict(at("2026-11-24T10:00"), 120, 8, 0.0).allowed


def test_where_jobs_may_cross_only_their_part_of_the_day_counts() -> None:
    lenient = charter(no_crossing=False, daily_host_hours=2.0)
    assert lenient.verdict(at("2026-11-23T17:00"), 600, 1, 0.0).allowed
    assert lenient.verdict(at("2026-11-23T16:59"), 600, 1, 0.0).until == at("2026-11-23T19:00")
    assert lenient.verdict(at("2026-11-23T23:00"), 12 * 60, 1, 5.0).allowed  # two hours of tomorrow
    assert not lenient.verdict(at("2026-11-23T23:00"), 13 * 60, 1, 0.0).allowed
    assert lenient.never(7 * 24 * 60, 1).startswith("168 host-hours")
    assert not lenient.never(16 * 60, 1)


def test_what_fits_nowhere_is_known_beforehand_and_never_allowed() -> None:
    assert GRID5000.never(62 * 60, 8) == ""
    why = GRID5000.never(62 * 60 + 1, 1)
    assert why.startswith("3721 min fit into no day and no night of the charter, 3720 at the most: shorten")
    week_long = charter(working_days=("mon", "tue", "wed", "thu", "fri", "sat", "sun"), daily_host_hours=1.0)
    assert week_long.never(14 * 60, 4) == ""
    assert "840 at the most" in week_long.never(14 * 60 + 1, 4)
    refused = week_long.verdict(at("2026-11-23T10:00"), 16 * 60, 4, 0.0)
    assert (refused.allowed, refused.until) == (False, None)
    assert "at the most" in refused.why
    assert charter(working_days=()).verdict(at("2026-11-23T10:00"), 1e6, 9, 0.0).allowed


def test_options_of_its_list_are_exempt() -> None:
    free = charter(exempt=("besteffort", "night"))
    assert not free.binds({"queue": "default", "type": "besteffort"})
    assert not free.binds({"type": "exotic,night"})
    assert not free.binds({"type": "exotic night"})
    assert free.binds({"queue": "default", "type": "exotic"})
    assert charter().binds({"type": "besteffort"})


def test_host_hours_of_today_are_those_of_its_working_hours() -> None:
    jobs = [
        (at("2026-11-23T08:00"), at("2026-11-23T11:00"), 2),  # two hours of it on two hosts
        (at("2026-11-23T18:30"), at("2026-11-23T20:00"), 1),
        (at("2026-11-22T10:00"), at("2026-11-22T11:00"), 8),  # yesterday
    ]
    assert GRID5000.host_hours_today(at("2026-11-23T12:00"), jobs) == pytest.approx(4.5)
    assert GRID5000.host_hours_today(at("2026-11-22T12:00"), jobs) == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"timezone": "Europe/Lille"}, "must be a time zone known here"),
        ({"timezone": "/etc/passwd"}, "must be a time zone known here"),
        ({"day_start": "9h"}, 'must be a time of day like "09:00"'),
        ({"day_end": "19:00+01:00"}, 'must be a time of day like "09:00"'),
        ({"day_start": "20:00"}, 'day_start "20:00" must be before day_end "19:00"'),
        ({"working_days": ("monday",)}, "'mon', 'tue'"),
        ({"holidays": ("2026-12-25",)}, "valid date"),
        ({"daily_core_hours": 512.0}, "`daily_core_hours` and `cores_per_host` go together"),
        ({"cores_per_host": 32}, "`daily_core_hours` and `cores_per_host` go together"),
        ({"daily_host_hours": 2.0, "daily_core_hours": 512.0, "cores_per_host": 32}, "give either"),
        ({"daily_host_hours": -1.0}, "greater than or equal to 0"),
        ({"day_begin": "09:00"}, "Extra inputs"),
    ],
)
def test_nonsense_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words.replace("(", r"\(")):
        charter(**fields)


# ---------------------------------------------------------------- laws

instants = st.integers(int(at("2025-12-01T00:00").timestamp()), int(at("2027-02-01T00:00").timestamp())).map(
    lambda seconds: dt.datetime.fromtimestamp(seconds, dt.UTC)
)
zones = st.sampled_from(["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "UTC"])
weeks = st.sets(st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"])).map(
    lambda days: tuple(sorted(days))
)
clocks = st.lists(st.times().map(lambda t: f"{t:%H:%M}"), min_size=2, max_size=2, unique=True).map(sorted)


@st.composite
def charters(draw: st.DrawFn) -> Charter:
    start, end = draw(clocks)
    return Charter(
        timezone=draw(zones),
        day_start=start,
        day_end=end,
        working_days=draw(weeks),  # type: ignore[arg-type]
        holidays=tuple(draw(st.lists(st.dates(dt.date(2025, 12, 1), dt.date(2027, 3, 1)), max_size=5))),
        no_crossing=draw(st.booleans()),
        daily_host_hours=draw(st.none() | st.floats(0, 30)),
        margin_min=draw(st.floats(0, 60)),
    )


def days_of(one: Charter, start: dt.datetime, end: dt.datetime) -> list[tuple[dt.datetime, dt.datetime]]:
    """The working days that touch a span, counted out by hand."""
    zone, found = ZoneInfo(one.timezone), []
    date = start.astimezone(zone).date() - dt.timedelta(days=1)
    while date <= end.astimezone(zone).date() + dt.timedelta(days=1):
        if f"{date:%a}".lower() in one.working_days and date not in one.holidays:
            hours = (one.day_start, one.day_end)
            first, last = (
                dt.datetime.combine(date, dt.time.fromisoformat(h), zone).astimezone(dt.UTC) for h in hours
            )
            found.append((first, last))
        date += dt.timedelta(days=1)
    return found


@given(charters(), instants, st.floats(0.1, 5000), st.integers(1, 8), st.floats(0, 20))
@example(charter(), dt.datetime(2026, 3, 29, 0, 59, tzinfo=dt.UTC), 600.0, 1, 0.0)
def test_what_is_allowed_keeps_the_charter_whenever_it_starts_within_the_margin(
    one: Charter, now: dt.datetime, walltime_min: float, hosts: int, used: float
) -> None:
    assume(one.verdict(now, walltime_min, hosts, used).allowed)
    end = now + MINUTE * (walltime_min + one.margin_min)
    if one.no_crossing:
        assert not [b for day in days_of(one, now, end) for b in day if now < b < end - MINUTE / 1e6]
    if one.daily_host_hours is not None:
        zone = ZoneInfo(one.timezone)
        last = now + MINUTE * walltime_min
        for start, stop in days_of(one, now, last):
            taken = max(0.0, (min(stop, last) - max(start, now)).total_seconds() / 3600) * hosts
            today = start.astimezone(zone).date() == now.astimezone(zone).date()
            assert taken <= 1e-6 or taken + used * today <= one.daily_host_hours + 1e-6


@given(charters(), instants, st.floats(0.1, 5000), st.integers(1, 8), st.floats(0, 20))
def test_until_is_later_and_then_it_is_allowed(
    one: Charter, now: dt.datetime, walltime_min: float, hosts: int, used: float
) -> None:
    verdict = one.verdict(now, walltime_min, hosts, used)
    assert verdict.allowed is not bool(verdict.why)
    if verdict.until is None:
        assert verdict.allowed or one.never(walltime_min, hosts)
        return
    assert verdict.until > now
    zone = ZoneInfo(one.timezone)
    same_day = verdict.until.date() == now.astimezone(zone).date()
    assert one.verdict(verdict.until, walltime_min, hosts, used if same_day else 0.0).allowed
    if one.no_crossing and one.daily_host_hours is None:  # and not a moment earlier
        assert not one.verdict(verdict.until - dt.timedelta(seconds=1), walltime_min, hosts, 0.0).allowed


@given(charters(), instants, st.floats(0.1, 5000), st.floats(0, 1), st.integers(1, 8), st.floats(0, 20))
def test_a_shorter_job_is_allowed_wherever_a_longer_one_is(  # noqa: PLR0917
    one: Charter, now: dt.datetime, walltime_min: float, share: float, hosts: int, used: float
) -> None:
    assume(one.verdict(now, walltime_min, hosts, used).allowed)
    assert one.verdict(now, walltime_min * share, 1, used / 2).allowed
