"""How many jobs the site takes: the profile's cap, and what the scheduler turned out to allow."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_PAUSE_S = 2.0  # after a refusal: jobs that have just ended may still be counted
_LONGEST_PAUSE_S = 60.0  # … and between two tries whether the site takes more than it did


class Quota:
    """Learns from refusals. A site limits the jobs of one submission (an array's size), those submitted at
    once (a QOS), or both, and its refusals seldom say which, or the number: so after a refusal half as many
    are tried. If not even one is taken, what is under way is all that the site allows, for now.
    """

    def __init__(self, max_jobs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_jobs = max_jobs
        self._clock = clock
        self._at_once = max_jobs  # jobs of one submission
        self._limit = math.inf  # jobs under way
        self._beyond = 1  # jobs to try for beyond that limit
        self._pause_s = _PAUSE_S
        self._again_at = self._beyond_at = -math.inf

    def free(self, under_way: int) -> int:
        """Jobs to submit now, when so many are under way; 0: wait."""
        now = self._clock()
        if now < self._again_at:
            return 0
        known = min(self._limit, self._max_jobs) - under_way
        if known < 1 and now >= self._beyond_at:
            known = self._beyond
        return max(0, min(self._at_once, int(known), self._max_jobs - under_way))

    def taken(self, jobs: int, under_way: int) -> None:
        """A submission of so many was accepted, while so many others were under way."""
        self._at_once = max(self._at_once, min(self._max_jobs, 2 * jobs))
        self._pause_s = _PAUSE_S
        if under_way + jobs > self._limit:
            self._limit = under_way + jobs
            self._beyond *= 2

    def refused(self, jobs: int, under_way: int) -> None:
        """A submission of so many was refused as too many, while so many others were under way."""
        if jobs > 1:
            self._at_once = jobs // 2
            return
        now = self._clock()
        if self._limit == math.inf or self._pause_s == _LONGEST_PAUSE_S:
            self._limit = under_way  # or else jobs that have ended are still counted
        self._at_once, self._beyond = self._max_jobs, 1
        self._again_at, self._beyond_at = now + self._pause_s, now + _LONGEST_PAUSE_S
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
