"""The text of a profile in the making: each value with where it comes from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from jobs.probe import storage

WALLTIME_MIN = 60.0
_MOST_JOBS = 8
_ROOMY = ("WORK", "SCRATCH", "PROJECT", "CSCRATCH", "GLOBALSCRATCH")  # names that sites give to large storage
_TAIL = """
# EDIT: what a job needs before Python starts, a shell line each.
setup = [
    # "module load cuda/12.4",
]

[environment]
# NCCL_DEBUG = "WARN"
"""


@dataclass
class Draft:
    """The lines of a profile, each with where its value comes from."""

    head: str
    lines: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    charter: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, key: str, value: str | float, source: str) -> None:
        self.lines.append(_line(key, value, source))

    def option(self, key: str, value: str, source: str, *, chosen: bool = True) -> None:
        self.options.append(_line(key if chosen else f"# {key}", value, source))

    def place(self, given: Path | None) -> None:
        """The shared directory: given, or the first place on a filesystem that hosts may see too."""
        if given is not None:
            self.add(
                "shared_dir",
                str(given.expanduser().absolute()),
                "--shared-dir; runs/ and cache/ appear in it",
            )
            return
        places = {f"${name}": Path(os.environ[name]) for name in _ROOMY if os.environ.get(name)}
        for text, path in {**places, "~": Path.home()}.items():
            kind, mounted = storage.filesystem(path)
            if storage.is_shared(kind) and os.access(path, os.W_OK):
                self.add(
                    "shared_dir",
                    f"{text}/orchestrator",
                    f"EDIT: {kind} of {mounted}; runs/ and cache/ appear in it",
                )
                self.remarks.append(f"shared_dir: {text}/orchestrator is on {kind}; do the hosts see it?")
                return
        kind, _ = storage.filesystem(Path.home())
        self.add("shared_dir", "~/orchestrator", f"EDIT: a directory that the hosts see too; home is {kind}")
        self.remarks.append(f"shared_dir: EDIT it: your home is on {kind}, which the hosts may not see")

    def walltime(self, limit: float | None, source: str) -> None:
        minutes = WALLTIME_MIN if limit is None else min(WALLTIME_MIN, limit)
        self.add("walltime_min", minutes, f"EDIT: how long an evaluation may take; {source}")
        longer = 4 * minutes if limit is None else min(4 * minutes, limit)
        if longer > minutes:
            self.add("# walltime_max_min", longer, "one that ran out of time may have so much")

    def jobs(self, hosts: int, source: str) -> None:
        self.add("max_jobs", max(1, min(_MOST_JOBS, hosts)), f"EDIT: evaluations at once; {source}")

    @property
    def text(self) -> str:
        parts = [f"# {self.head}", *self.lines, _TAIL.rstrip(), "", "[options]", *self.options]
        return "\n".join([*parts, *(["", *self.charter] if self.charter else [])]) + "\n"


def _line(key: str, value: str | float, source: str) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else f"{value:g}"
    return f"{f'{key} = {text}':<44} # {source}"
