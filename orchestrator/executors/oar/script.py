"""The script of a submission, as submitit's plugin for OAR writes it, and how oarsub is asked to run it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submitit_oar.oar import OarExecutor as Plugin

from orchestrator.errors import InputError, Problem
from orchestrator.executors import payload
from orchestrator.executors.base import FOLDER, Overrides, Resources

_LONG = {
    "a": "anterior", "d": "directory", "l": "resource", "n": "name", "p": "property", "q": "queue",
    "r": "reservation", "t": "type", "properties": "property", "types": "type",
    "C": "connect", "D": "dumper", "E": "stderr", "I": "interactive", "J": "json", "O": "stdout",
    "S": "scanscript", "X": "xml", "Y": "yaml", "k": "use_job_key",
}  # fmt: skip
_LOGS = "logs go to the run directory"
_ANSWER = "it changes what oarsub answers"
# What is set here, and how a profile asks for it where it may.
_OURS = {
    "resource": "use hosts, gpus and walltime_min",
    "walltime": "use walltime_min",
    "name": "it tells a study's jobs from others",
    "array": "use max_jobs",
    "array_param_file": "use max_jobs",
    "stdout": _LOGS,
    "stderr": _LOGS,
    "directory": "jobs start in the run directory",
    "anterior": "jobs start when there is room",
    "reservation": "jobs start when there is room",
    "hold": "it would never start",
    "resubmit": "the master decides what is tried again",
    "checkpoint": "an evaluation watches its own wall-time",
    "signal": "an evaluation watches its own wall-time",
    "scanscript": "use setup",
    "interactive": "oarsub must return at once",
    "connect": "oarsub must return at once",
    "dumper": _ANSWER,
    "json": _ANSWER,
    "xml": _ANSWER,
    "yaml": _ANSWER,
}
_OUR_TYPES = {
    "idempotent": "the master decides what is tried again",
    "deploy": "the job would not run on its host",
    "cosystem": "the job would not run on its host",
    "noop": "the job would not run",
}
# What OAR lets stand in the path of a job's log.
_FOLDER = re.compile(r"[A-Za-z0-9_./ -]+")
_HOST = re.compile(r"[A-Za-z0-9_.:-]+")


def options(resources: Resources) -> dict[str, Any]:
    """A profile's options by oarsub's long names; `type` may hold several, separated by spaces.

    Raises:
        InputError: names each option that is not the profile's to set.
    """
    given, written = {}, {}
    for name, value in resources.options.items():
        plain = name.lstrip("-").replace("-", "_")
        given[_LONG.get(plain, plain)] = value
        written[_LONG.get(plain, plain)] = ("options", name)
    problems = [Problem(written[name], f"cannot be set: {_OURS[name]}") for name in given if name in _OURS]
    problems += [
        Problem(written["type"], f"cannot be {kind}: {why}")
        for kind, why in _OUR_TYPES.items()
        if kind in re.split(r"[\s=]+", str(given.get("type", "")))
    ]
    several = [name for name, value in given.items() if "\n" in str(value)]
    problems += [Problem(written[name], "must be one line") for name in several]
    if problems:
        raise InputError(problems)
    return {name: value for name, value in given.items() if value is not False}


def script(resources: Resources, token: str, folder: Path, count: int, overrides: Overrides) -> str:
    """Text of the script that runs `count` jobs as one array, with oarsub's options in its head.

    Raises:
        InputError: an option, a variable, the token or the folder cannot be used.
    """
    setup = [
        *_setup(resources),
        # OAR may submit a job again by itself. The plugin would then look for the pickle of the first one.
        'export OAR_ARRAY_ID="$OAR_JOB_ID"',
        payload.link_line(folder, "$((OAR_ARRAY_INDEX - 1))", "${OAR_JOB_ID}"),
    ]
    asked = {"nodes": resources.hosts, "walltime": _walltime(resources.walltime_with(overrides))}
    asked |= {"gpu": resources.gpus} if resources.gpus else {"cores": 1}
    more = _more(resources)
    if overrides.exclude:
        more["p"] = _without(str(more.get("p", "")), overrides.exclude)
    command = f"exec {payload.runner(folder)}"  # exec: signals reach the evaluation, not its shell
    return _text(token, folder, command, count=count, setup=setup, additional_parameters=more, **asked)


def command_script(
    resources: Resources, argv: Sequence[str], token: str, folder: Path, *, minutes: float, after: str | None
) -> str:
    """Text of the script that runs `argv` on one core, once the job `after` is over.

    Raises:
        InputError: an option, a variable, the token or the folder cannot be used.
    """
    more = _more(resources) | ({} if after is None else {"a": after})
    return _text(
        token,
        folder,
        f"exec {shlex.join(argv)}",
        # No array: for one OAR 2.5.9 forgets a single `-a`.
        count=None,
        setup=_setup(resources),
        additional_parameters=more,
        nodes=1,
        cores=1,
        walltime=_walltime(minutes),
    )


def arguments(text: str, script: Path) -> list[str]:
    """The oarsub command that submits a script with the options in its head."""
    argv = ["oarsub", "-d", str(script.parent)]
    for line in text.splitlines():
        if line.startswith("#OAR -t "):
            argv += line.split()[1:]  # several in one line
        elif line.startswith("#OAR "):
            name, _, value = line.removeprefix("#OAR ").partition(" ")
            argv += [name, value] if value else [name]
    return [*argv, f"exec /bin/bash {shlex.quote(str(script))}"]


def _setup(resources: Resources) -> list[str]:
    return [*payload.export_lines(resources.environment), *resources.setup]


def _more(resources: Resources) -> dict[str, Any]:
    """The profile's options by the names that make the plugin write them."""
    found: dict[str, Any] = {}
    for name, value in options(resources).items():
        if name == "type":
            found["t"] = str(value).split()
        else:
            short = {"property": "p", "queue": "q"}.get(name, name.replace("_", "-"))
            found[short] = "" if value is True else value
    return found


def _without(wanted: str, hosts: Sequence[str]) -> str:
    """The property `wanted`, on other hosts than these."""
    names = [name for host in hosts for name in host.split(",")]
    if wrong := [name for name in names if not _HOST.fullmatch(name)]:
        raise InputError([f"{name!r} is no host's name" for name in wrong])
    clauses = [f"({wanted})"] if wanted else []
    return "AND".join([*clauses, *(f"(network_address<>'{name}')" for name in names)])


def _walltime(minutes: float) -> str:
    seconds = max(1, math.ceil(60 * minutes))
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _text(token: str, folder: Path, command: str, *, count: int | None, **parameters: Any) -> str:
    payload.check(token, folder)
    if not _FOLDER.fullmatch(str(folder)):
        what = "OAR takes only A-Z a-z 0-9 _ . - and spaces in a path; choose another run directory"
        raise InputError(Problem(FOLDER, f"{folder}: {what}"))
    writer = _Writer(folder, max_num_timeout=0)
    writer.update_parameters(n=token, **parameters)
    return writer.text(command, count)


class _Writer(Plugin):  # type: ignore[misc]  # submitit has no types
    """submitit's executor, for the text it would submit."""

    def text(self, command: str, count: int | None) -> str:
        self.parameters["map_count"] = count
        return str(self._make_submission_file_text(command, ""))

    @classmethod
    def affinity(cls) -> int:
        """Wanted anywhere: a script can be looked at on a host without OAR."""
        return 2
