"""The text of a new profile: each value has a comment that says where it comes from."""

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
    """The lines of a new profile, each with a comment that says where its value comes from.

    Attributes:
        head: the first line, without its "#".
        lines: the settings before the first section.
        options: the lines of [options].
        charter: the lines of the [charter] section with its heading; empty if there is none.
        remarks: what the user should look at.
    """

    head: str
    lines: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    charter: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, key: str, value: str | float, source: str) -> None:
        """Add a setting; `source` becomes its comment."""
        self.lines.append(_line(key, value, source))

    def option(self, key: str, value: str, source: str, *, chosen: bool = True) -> None:
        """Add a line to [options]; if it is not `chosen`, as a suggestion that is commented out."""
        self.options.append(_line(key if chosen else f"# {key}", value, source))

    def add_shared_dir(self, given: Path | None) -> None:
        """Add `shared_dir`: the directory given, else the first usual place on a shared filesystem.

        A place that was not given is only a guess, so there is a remark on it.
        """
        if given is not None:
            self.add(
                "shared_dir",
                str(given.expanduser().absolute()),
                "--shared-dir; runs/ and cache/ appear in it",
            )
            return
        folders = {f"${name}": Path(os.environ[name]) for name in _ROOMY if os.environ.get(name)}
        for text, path in {**folders, "~": Path.home()}.items():
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
        """Add `walltime_min` and, commented out, a longer `walltime_max_min`.

        Args:
            limit: the longest wall-time of a job in minutes; None if there is no limit.
            source: where the limit comes from.
        """
        minutes = WALLTIME_MIN if limit is None else min(WALLTIME_MIN, limit)
        self.add("walltime_min", minutes, f"EDIT: how long an evaluation may take; {source}")
        longer = 4 * minutes if limit is None else min(4 * minutes, limit)
        if longer > minutes:
            self.add("# walltime_max_min", longer, "one that ran out of time may have so much")

    def jobs(self, hosts: int, source: str) -> None:
        """Add `max_jobs`: one for each of `hosts` hosts, at least 1 and at most 8."""
        self.add("max_jobs", max(1, min(_MOST_JOBS, hosts)), f"EDIT: evaluations at once; {source}")

    @property
    def text(self) -> str:
        """The whole profile, in TOML."""
        parts = [f"# {self.head}", *self.lines, _TAIL.rstrip(), "", "[options]", *self.options]
        return "\n".join([*parts, *(["", *self.charter] if self.charter else [])]) + "\n"


def _line(key: str, value: str | float, source: str) -> str:
    """A line of TOML with `source` as its comment."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else f"{value:g}"
    return f"{f'{key} = {text}':<44} # {source}"
