"""A site's limits are found by being refused, and used to the full."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.attempts.quota import Quota


@dataclass
class Site:
    """Takes so many jobs of one submission, and so many under way."""

    at_once: int
    most: int
    room: Quota
    under_way: int = 0
    refusals: int = 0
    largest: list[int] = field(default_factory=list)

    def fill(self) -> None:
        """Submit until the room has none left."""
        while jobs := self.room.free(self.under_way):
            if jobs > self.at_once or self.under_way + jobs > self.most:
                self.refusals += 1
                self.room.refused(jobs, self.under_way)
            else:
                self.under_way += jobs
                self.largest.append(jobs)
                self.room.taken(jobs, self.under_way - jobs)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 400))
def test_a_site_is_filled_to_its_limit_with_few_refusals(max_jobs: int, at_once: int, most: int) -> None:
    site = Site(at_once, most, Quota(max_jobs, Clock()))
    site.fill()
    assert site.under_way == min(max_jobs, most)
    # A full site costs one descent; each array of full size one refusal more, for trying twice as many.
    assert site.refusals <= 3 * max_jobs.bit_length() + max_jobs // at_once + 1


def test_a_full_site_is_not_asked_for_more_for_a_minute_and_then_once() -> None:
    clock = Clock()
    site = Site(400, 5, Quota(8, clock))
    site.fill()
    refusals = site.refusals
    clock.now = 59.0
    site.fill()
    assert site.refusals == refusals
    clock.now = 61.0
    site.fill()
    assert site.refusals == refusals + 1


def test_freed_places_are_taken_together() -> None:
    clock = Clock()
    site = Site(400, 300, Quota(1000, clock))
    site.fill()
    site.under_way -= 40
    refusals = site.refusals
    clock.now = 3.0
    site.fill()
    assert (site.under_way, site.refusals, site.largest[-1]) == (300, refusals, 40)


def test_places_that_free_one_by_one_are_taken_without_a_refusal() -> None:
    clock = Clock()
    site = Site(400, 5, Quota(8, clock))
    site.fill()
    refusals = site.refusals
    for _ in range(50):
        clock.now += 0.5
        site.under_way -= 1
        site.fill()
    clock.now += 3.0
    site.fill()
    assert (site.under_way, site.refusals) == (5, refusals)


def test_jobs_that_the_site_still_counts_do_not_lower_what_it_is_known_to_take() -> None:
    """A result is there before its job has left the queue."""
    clock = Clock()
    site = Site(400, 50, Quota(80, clock))
    site.fill()
    for _ in range(20):
        clock.now += 5.0
        site.under_way -= 10
        site.most = 42  # eight of the ten are still counted
        site.fill()
        clock.now += 3.0
        site.most = 50
        site.fill()
        clock.now += 3.0
        site.fill()
        assert site.under_way == 50


def test_a_site_that_takes_less_than_before_is_asked_ever_more_seldom() -> None:
    clock = Clock()
    site = Site(400, 50, Quota(50, clock))
    site.fill()
    site.under_way, site.most = 20, 20
    for _ in range(1200):
        clock.now += 0.5
        site.fill()
    assert site.refusals < 80


def test_a_site_that_grants_more_later_is_used_to_the_new_limit() -> None:
    clock = Clock()
    site = Site(400, 5, Quota(64, clock))
    site.fill()
    site.most = 64
    clock.now = 61.0
    site.fill()
    assert site.under_way == 64
