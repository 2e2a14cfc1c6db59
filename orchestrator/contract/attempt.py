"""The files of an attempt's directory, by which master and job understand each other.

trials/0042/checkpoint/            what training has reached, for all attempts at the trial; its adapter
trials/0042/attempt-1/trial.json   what the job is to do
                      claim.json   the job that may run the attempt; or the master, so that none ever can
                      copies/      a file for each process of that job that began to
                      log.out      what the evaluation wrote
                      result.json  its outcome, once and whole
"""

from __future__ import annotations

from pathlib import Path

TRIAL, CLAIM, COPIES, LOG, RESULT = "trial.json", "claim.json", "copies", "log.out", "result.json"
CHECKPOINT, ADAPTER = "checkpoint", "adapter.pth"
_TAIL_BYTES, _TAIL_LINES = 4096, 5


def tail(*logs: Path) -> str:
    """Return the last lines of the first of these logs that says anything, as one line; "" if none does."""
    for log in logs:
        try:
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            continue
        if lines:
            return " | ".join(line.strip() for line in lines[-_TAIL_LINES:])
    return ""
