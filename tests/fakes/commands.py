"""SLURM's commands as a test has them answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Scripted:
    """SLURM's commands: what they say next, what they were asked, and the clock."""

    queue: str | Exception = ""
    accounts: str | Exception = ""
    scancel: str | Exception = ""
    preemptions: str | Exception = ""
    now: float = 0.0
    calls: list[str] = field(default_factory=list)

    def __call__(self, argv: Sequence[str], timeout_s: float, environment: Mapping[str, str]) -> str:
        self.calls.append(argv[0])
        asked = "preemptions" if any(word.startswith("--Format=") for word in argv) else argv[0]
        said = {
            "squeue": self.queue,
            "sacct": self.accounts,
            "scancel": self.scancel,
            "preemptions": self.preemptions,
        }[asked]
        if isinstance(said, Exception):
            raise said
        return said


def row(job: str, word: str, name: str = "st-1", reason: str = "None") -> str:
    return f"{job}|{word}|1:02|n1|{reason}|{name}\n"
