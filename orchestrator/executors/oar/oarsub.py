"""One call of oarsub, and what its failure says of jobs that may exist."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from orchestrator.errors import Full, Refused, SchedulerError
from orchestrator.executors.command import Ended, run

# It could not tell the server, and says that the job is killed. It is not: it starts when the server is back.
_UNHEARD = 9
# Of a request that names no job: -5 as an id, or minus the reason as the exit code, 256 - 2 and so on.
_BAD_REQUEST = 8
_REASONS = range(256 - 15, 256 - 1)
_USAGE = (1, 5, 6, 7, 16, 17)
_MANY_JOBS = re.compile(
    r"cannot have more than \d+ jobs|(too many|maximum number of) (waiting )?jobs", re.IGNORECASE
)
# What oarsub says that is no reason.
_CHATTER = re.compile(
    r"\[ADMISSION RULE\] (?!Error)|OAR_(JOB|ARRAY)_ID=|\[ERROR\] Oarsub failed|Simple array job"
    r"|\s*$|DBD::|LINE \d|\s*\^"
)


def oarsub(argv: Sequence[str], count: int, timeout_s: float, environment: Mapping[str, str]) -> list[str]:
    """Submit `count` jobs; return their ids in the order of their indices.

    Raises:
        InputError: there is no oarsub on PATH.
        Full, Refused: it said no; no job exists.
        SchedulerError: it failed otherwise, or did not end within `timeout_s`: jobs may exist.
    """
    ended = run(argv, timeout_s, environment)
    jobs = sorted(re.findall(r"^OAR_JOB_ID=(\d+)$", ended.out, re.MULTILINE), key=int)
    if ended.code in (0, _UNHEARD) and len(jobs) == count:
        return jobs
    if ended.code in (0, _UNHEARD) or jobs:
        raise SchedulerError(f"oarsub told {len(jobs)} ids of {count} jobs: {ended.out.strip()!r}")
    raise refusal(ended)


def refusal(ended: Ended) -> SchedulerError:
    """The error for an oarsub that failed: `Refused` or `Full` only if no job can exist."""
    said = [line.strip() for line in (ended.err + ended.out).splitlines() if not _CHATTER.match(line)]
    text = f"oarsub failed (exit code {ended.code}): {'; '.join(said) or 'no word'}"
    if ended.code == _BAD_REQUEST:
        return Refused(f"{text}: look at hosts, gpus and options.property in the profile")
    if ended.code not in _REASONS and ended.code not in _USAGE:
        return SchedulerError(text)
    return Full(text) if _MANY_JOBS.search(text) else Refused(text)
