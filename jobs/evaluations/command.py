"""The `command` evaluation: any program that reads a configuration and writes metrics.

Its environment holds ORCHESTRATOR_TRIAL, ORCHESTRATOR_SEED, and ORCHESTRATOR_CHECKPOINT: an existing
directory that all attempts at the trial share. If the job is to end, the program gets SIGTERM, and has
`grace_s` seconds to save its state in that directory, where the next attempt finds it. Two copies of a job
may run at once, one of them on a host that lost its connection: a program should write each file there under
a name that is unique, and then rename it.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from jobs.attempt import directory as attempt
from jobs.attempt.failure import (
    EvaluationFailed,
    diverged,
    failure_of,
)
from jobs.attempt.interruption import Interruption
from jobs.attempt.measured import Measured
from jobs.processes import launch
from jobs.processes.launch import Call
from orchestrator.contract import Assignment, CommandEvaluation, Failure, Metric, publish
from orchestrator.contract.files import dumps

_LAST_LINES = 12  # of stderr, for the message
_METRIC_KEYS = {"value", "stderr", "n"}


def prepared(command: tuple[str, ...], assignment: Assignment, directory: Path) -> Call:
    """The call `command… CONFIGURATION.json OUTPUT.json`; the first file is there, the second not yet."""
    copy = attempt.copy_name()
    # Each copy of a job has its own output: none reads, or removes, what another wrote.
    configuration, output = directory / "configuration.json", directory / f"output-{copy}.json"
    publish(configuration, dumps(assignment.configuration))
    output.unlink(missing_ok=True)
    checkpoint = attempt.checkpoint(assignment, directory)
    checkpoint.mkdir(parents=True, exist_ok=True)
    variables = {
        "ORCHESTRATOR_SEED": str(assignment.seed),
        "ORCHESTRATOR_TRIAL": str(assignment.trial),
        "ORCHESTRATOR_CHECKPOINT": str(checkpoint),
    }
    return Call(copy, [*command, str(configuration), str(output)], variables, output)


def run(command: tuple[str, ...], assignment: Assignment, directory: Path) -> Measured:
    """Run the command in its own process group and read its metrics.

    Raises:
        EvaluationFailed: it could not start, failed, or left no well-formed and finite metrics.
    """
    call = prepared(command, assignment, directory)
    print(f"command: {' '.join(call.argv)}", flush=True)
    try:
        process = subprocess.Popen(
            call.argv,
            cwd=directory,
            env={**os.environ, **call.variables},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except (FileNotFoundError, PermissionError) as error:
        remedy = "give a program on PATH of the compute nodes, or an absolute path, and make it executable"
        raise EvaluationFailed(
            Failure.MISSING_INPUT, f"command {command[0]!r} cannot be started: {error.strerror}: {remedy}"
        ) from error
    last = deque[str](maxlen=_LAST_LINES)
    # Read by a thread: a background process that keeps the pipe open must not keep us waiting.
    reader = threading.Thread(target=_copy, args=(process.stderr, last), daemon=True)
    reader.start()
    try:
        code = process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left running in the background
    reader.join(timeout=2.0)
    if code:
        raise _failed(command[0], code, list(last))
    return read_metrics(call.output, assignment.objective)


def read_metrics(path: Path, objective: str | None) -> Measured:
    """Read the metrics that a command wrote to the file `path`.

    A configuration is judged by its objective alone: any other metric that is malformed or not finite is
    left out, with a note.

    Raises:
        EvaluationFailed: there is no file, it is malformed, or it has no finite objective.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _bad(path, "was not written: write a JSON object of metrics to the last argument") from error
    except (ValueError, RecursionError, OSError) as error:
        raise _bad(path, f"is no JSON ({error})") from error
    if not isinstance(content, dict) or not content:
        raise _bad(path, f'holds {_excerpt(content)}, not an object of metrics as {{"loss": 0.5}}')
    metrics, notes = dict[str, Metric](), list[str]()
    for name, value in content.items():
        try:
            metrics[name] = _metric(path, name, value)
        except EvaluationFailed as odd:
            if objective in (name, None):
                raise
            notes.append(f"left out: {odd}")
    if objective is not None and objective not in metrics:
        said = "; ".join([f"has no metric {objective!r}: it has {', '.join(metrics) or 'none'}", *notes])
        raise _bad(path, said)
    return Measured(metrics, notes=tuple(notes))


def _metric(path: Path, name: str, value: Any) -> Metric:
    """A metric from its entry in the file: a number, or an object with value, stderr and n.

    Raises:
        EvaluationFailed: the entry is malformed, or a number in it is not finite.
    """
    fields = value if isinstance(value, Mapping) else {"value": value}
    if "value" not in fields or (unknown := fields.keys() - _METRIC_KEYS):
        known = "exactly: value, and if known stderr and n"
        odd = (
            f"has no value: give {known}" if "value" not in fields else f"has {sorted(unknown)}: give {known}"
        )
        raise _bad(path, f"metric {name!r} {odd}")
    for key, number in fields.items():
        whole = key == "n"
        if isinstance(number, bool) or not isinstance(number, int if whole else int | float):
            if number is None and key != "value":
                continue
            raise _bad(
                path, f"{name!r}: {key} is {_excerpt(number)}, not a {'whole ' if whole else ''}number"
            )
        if isinstance(number, int) and abs(number) > sys.float_info.max:
            raise _bad(path, f"{name!r}: {key} is larger than any number a metric can be")
        if not math.isfinite(number) and key == "value":
            raise diverged(f"metric {name}: {key} is {number} in {path}: this configuration has no score")
        if number < 0 and key != "value":
            raise _bad(path, f"{name!r}: {key} is {number}, and cannot be negative")
    # An error that is no number is one that the program could not tell.
    return Metric(**{key: n for key, n in fields.items() if n is not None and math.isfinite(n)})


def _failed(program: str, code: int, last: list[str]) -> EvaluationFailed:
    """The error for a command that ended with a status other than 0.

    Args:
        program: its name.
        code: its exit status; negative: the signal that killed it.
        last: the last lines that it wrote to stderr.
    """
    said = " | ".join(last) or "nothing on its stderr"
    if code == -signal.SIGKILL:
        return EvaluationFailed(
            Failure.KILLED,
            f"command {program!r} was killed by SIGKILL: by hand, or by the host for want of memory "
            f"(then give the job more). Its last words: {said}",
        )
    how = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
    return EvaluationFailed(failure_of(said), f"command {program!r} {how}. Its last words: {said}")


def _bad(path: Path, what: str) -> EvaluationFailed:
    return EvaluationFailed(Failure.BAD_RESULT, f"the command's output {path} {what}")


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _copy(source: IO[bytes], last: deque[str]) -> None:
    """Copy what the command writes to `source` to stderr, and keep its last lines in `last`."""
    for raw in source:
        line = raw.decode(errors="replace").rstrip()
        print(line, file=sys.stderr, flush=True)
        if line:
            last.append(line)


def run_processes(
    evaluation: CommandEvaluation, assignment: Assignment, directory: Path, interruption: Interruption
) -> Measured:
    """Run the command as one process per GPU on every host, and read the metrics that rank 0 writes.

    Raises:
        EvaluationFailed: it could not start, a rank failed, or the metrics are not well-formed and finite.
        Interrupted: the end was announced; the ranks were told, and have ended.
    """
    call = prepared(evaluation.command, assignment, directory)
    shape = assignment.hosts, max(1, assignment.gpus)
    if (end := launch.run_all(call, shape, directory, interruption, evaluation.grace_s)) is not None:
        raise launch.why(f"command {evaluation.command[0]!r}", end)
    return read_metrics(call.output, assignment.objective)
