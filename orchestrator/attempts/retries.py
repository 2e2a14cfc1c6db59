"""What follows on an attempt that failed, by the rules of the profile, and with which overrides."""

from __future__ import annotations

from collections import Counter

from orchestrator.config import ClusterProfile
from orchestrator.config.profile import Rule
from orchestrator.contract import Failure, Result
from orchestrator.executors.base import Overrides
from orchestrator.record import Attempt, History, Trial
from orchestrator.record.history import End

_AT_FAULT = (Failure.HOST_FAULT, Failure.KILLED)  # a host may be


def is_retried(trial: Trial, evaluation: Result, profile: ClusterProfile) -> bool:
    """True if another attempt follows on the trial's last one, which ended with this failure."""
    failure = evaluation.failure
    if failure is None:
        return False
    before, last = trial.attempts[:-1], trial.attempts[-1]
    if failure is Failure.WALLTIME and (evaluation.trained or 0.0) > max(
        (a.trained for a in before), default=0.0
    ):
        return True  # it goes on from its checkpoint
    match profile.rule(failure):
        case Rule.RESUBMIT:
            return True
        case Rule.RETRY:
            tried = 1 + sum(_is(attempt, Rule.RETRY, profile) for attempt in before)
            return tried < profile.attempts
        case Rule.LONGER:
            had = last.walltime_min or profile.walltime_min
            return profile.walltime_max_min is not None and had < profile.walltime_max_min
        case Rule.FAIL:
            return False


def overrides_of(trial: Trial, avoided: set[str], profile: ClusterProfile) -> Overrides:
    """Of the trial's next attempt; no trial is to run on the hosts `avoided`."""
    walltime_min, trained = profile.walltime_min, 0.0
    for attempt in trial.attempts:
        if _is(attempt, Rule.LONGER, profile) and attempt.trained <= trained and profile.walltime_max_min:
            walltime_min = max(walltime_min, profile.walltime_max_min)
        trained = max(trained, attempt.trained)
    own = {attempt.host for attempt in trial.attempts if attempt.ended in _AT_FAULT and attempt.host}
    return Overrides(walltime_min, tuple(sorted(own | avoided)))


def struck(history: History, strikes: int) -> set[str]:
    """Hosts that are not used any more: so many attempts failed of them.

    The scheduler's or the job's own word that the host is at fault counts at once. A job that died without a
    word counts only if its trial ended well elsewhere: a configuration that kills its process kills it on
    every host. Trials that share a job are one witness: its fault counts once, and a death not at all if
    another of them ended well.
    """
    well = {a.job_key for t in history.trials for a in t.attempts if _ended_well(t, a)}
    faults = {
        (attempt.job_key, attempt.host)
        for trial in history.trials
        for attempt in trial.attempts
        if attempt.ended is Failure.HOST_FAULT
        or (
            attempt.ended is Failure.KILLED
            and attempt.job_key not in well
            and _ended_well_elsewhere(trial, attempt)
        )
    }
    count = Counter(host for _, host in faults)
    return {host for host, faults in count.items() if host and faults >= strikes}


def _ended_well(trial: Trial, attempt: Attempt) -> bool:
    return (
        attempt.ended is End.EVALUATED and trial.evaluation is not None and trial.evaluation.failure is None
    )


def _ended_well_elsewhere(trial: Trial, attempt: Attempt) -> bool:
    if trial.evaluation is None or trial.evaluation.failure is not None:
        return False
    return any(_ended_well(trial, a) and a.host != attempt.host for a in trial.attempts)


def _is(attempt: Attempt, rule: Rule, profile: ClusterProfile) -> bool:
    """True if the attempt ended with a failure that this rule is for."""
    return isinstance(attempt.ended, Failure) and profile.rule(attempt.ended) is rule
