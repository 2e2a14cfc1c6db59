"""Whether failures are the configurations' fault or the set-up's: which are not to be told yet.

A search that is told of a failure learns that the configuration is bad, and is never told otherwise. So what
may have failed of the set-up is held back until it is known better:

- As long as nothing in the study has succeeded or diverged, every failure is, and nothing but the first ask
  is made.
- After that, failures of missing input, bad data or a full disk are, while nothing else comes after them. One
  evaluation that ends otherwise shows that the set-up works, and releases those before it.

What a person accepts as the configurations' own fault is told, and shows that the set-up works.

Nothing is asked while something is held back. Once nothing is open either, the study stops if everything so
far failed, or if as many are held back as were open together after the last ask: then not one of those that
ran side by side came through. Fewer are the configurations' own fault (the checkpoint of a large rank fills
the disk, say), and are told. What a stop holds back has never been told, so it can be tried again.
"""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from orchestrator.contract import Failure
from orchestrator.record import History, Trial


def held_back(history: History) -> list[Trial]:
    """The failures that are not to be told yet, in the order in which they came; if nothing is open, the
    reason to stop.
    """
    if not _has_worked(history):
        return [history.trials[n] for n in history.evaluations]
    untold = set(history.untold)
    latest = takewhile(untold.__contains__, reversed(history.evaluations))
    suspect = (history.trials[n] for n in latest if n not in history.accepted)
    held = list(takewhile(_may_be_the_setup, suspect))
    if not history.open_trials and len(held) < history.wave:
        return []
    return held[::-1]


def may_ask(history: History) -> bool:
    """True at the start, and whenever the set-up is known to work and nothing is held back."""
    return not history.trials or (_has_worked(history) and not held_back(history))


def why_stopped(history: History, held: list[Trial], log: Path) -> str:
    """What a person reads when the study stops for these trials; `log` is that of the last one."""
    count = f" {len(held)}" if len(held) > 1 else ""
    plural = "s" if len(held) > 1 else ""
    which = f"the last{count} trial{plural}" if _has_worked(history) else f"the first{count} trial{plural}"
    evaluations = [e for trial in held if (e := trial.evaluation) is not None]
    classes = ", ".join(sorted({e.failure for e in evaluations if e.failure is not None}))
    return (
        f"{which} failed ({classes}): a fault of the set-up, not of the configurations. "
        f"{evaluations[-1].message}. Log: {log}. "
    )


def _has_worked(history: History) -> bool:
    evaluations = (history.trials[n].evaluation for n in history.evaluations)
    ended_well = (e is not None and e.failure in (None, Failure.DIVERGED) for e in evaluations)
    return bool(history.accepted) or any(ended_well)


def _may_be_the_setup(trial: Trial) -> bool:
    failure = None if trial.evaluation is None else trial.evaluation.failure
    return failure is not None and failure.about_setup
