"""Proves that hosts need no network, by loading everything in a process that cannot use one.

Run as `python -m jobs.prepare.offline ANSWER.json`, with the question on standard input.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.attempt.failure import EvaluationFailed, one_line
from jobs.inputs import Prepared
from jobs.inputs.manifest import FileMark, PreparedTask, library_files
from orchestrator.contract import LitGPTEvaluation
from orchestrator.contract.evaluation import LocalTask
from orchestrator.contract.files import dumps
from orchestrator.contract.strict import Record
from orchestrator.errors import InputError

_NOWHERE = "http://127.0.0.1:9"  # a port that nobody listens on
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_LEFT_BEHIND = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "no_proxy", "NO_PROXY")
_HERE = ("", "localhost", "::1", "::", "0.0.0.0")  # noqa: S104 - names of this host, nothing is bound
_refused: list[str] = []  # what was asked of the network, in the process of the proof


class _Question(Record):
    """What the process is to load."""

    evaluation: dict[str, Any]
    prepared: Prepared
    cache: str


class _Answer(Record):
    """What the process found: problems; or the tasks, with what they read and give."""

    problems: tuple[str, ...] = ()
    tasks: tuple[PreparedTask, ...] = ()


def prove(evaluation: LitGPTEvaluation, prepared: Prepared, cache: Path) -> Prepared:
    """Load everything in a process without a network; add to `prepared` what its tasks read and give.

    Raises:
        InputError: something is not there without a network, or does not fit.
    """
    question = _Question(evaluation=evaluation.model_dump(mode="json"), prepared=prepared, cache=str(cache))
    with tempfile.TemporaryDirectory(prefix="orchestrator-proof-") as folder:
        path = Path(folder) / "answer.json"
        done = subprocess.run(
            [sys.executable, "-m", "jobs.prepare.offline", str(path)],
            input=question.model_dump_json(),
            env=environment(os.environ, cache),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        if not path.is_file():
            last = one_line(" ".join(done.stderr.strip().splitlines()[-1:]))
            what = "evaluation: loading everything without a network ended with status"
            raise InputError(f"{what} {done.returncode}: {last}")
        answer = _Answer.model_validate_json(path.read_bytes())
    if answer.problems:
        raise InputError(answer.problems)
    return prepared.model_copy(update={"tasks": answer.tasks})


def environment(given: Mapping[str, str], cache: Path) -> dict[str, str]:
    """A job's environment on a host: libraries stay offline, there is no token, proxies lead nowhere."""
    from jobs.attempt.measured import OFFLINE

    kept = {name: value for name, value in given.items() if name not in _LEFT_BEHIND}
    home = str(cache / "huggingface")
    return {**kept, **OFFLINE, **library_files(cache), "HF_HOME": home, **dict.fromkeys(_PROXIES, _NOWHERE)}


def loaded(evaluation: LitGPTEvaluation, prepared: Prepared, cache: Path) -> tuple[PreparedTask, ...]:
    """Load everything as a job does; return the tasks with the files they read and the metrics they give.

    Raises:
        InputError: every problem found.
    """
    from jobs.checkpoints import check as checkpoint
    from jobs.checkpoints import vocabulary
    from jobs.data import tokens
    from jobs.inputs import limits
    from jobs.inputs.manifest import thaw

    problems: list[str] = []
    tasks = []
    try:
        checkpoint.check(Path(prepared.model), evaluation)
        for one in (prepared.train, prepared.val):
            samples = tokens.samples(thaw(one), evaluation, Path(prepared.model), cache)
            problems += vocabulary.stray_problems(samples, Path(prepared.model))
    except InputError as error:
        problems += error.problems
    for task, ready in zip(evaluation.tasks, prepared.tasks, strict=True):
        try:
            tasks.append(_proven(task, ready, limits.context(Path(prepared.model) / limits.CONFIG)))
        except InputError as error:
            problems += error.problems
        except EvaluationFailed as error:
            problems.append(f"tasks: {task.name!r}: {error}")
        except Exception as error:  # noqa: BLE001 - data sets and tasks raise what they like
            asked = f" (it asked for {', '.join(sorted(set(_refused)))})" if _refused else ""
            problems.append(
                f"tasks: {task.name!r}: cannot be loaded without a network{asked}: {type(error).__name__}: "
                f"{one_line(str(error))[:300]}: give it as a JSONL file, or leave it out"
            )
        _refused.clear()
    if problems:
        raise InputError(problems)
    return tuple(tasks)


def _proven(task: Any, ready: PreparedTask, reads: int) -> PreparedTask:
    """Load one task and try it; return it with the files it reads and the metrics it gives.

    Args:
        task: as the study has it.
        ready: as it was prepared.
        reads: tokens that the model reads at most.

    Raises:
        EvaluationFailed: it has a setting that is not supported, or wants more tokens than the model reads.
        Exception: whatever it raises without a network.
    """
    from jobs.inputs.manifest import thaw
    from jobs.prepare import rehearsal
    from jobs.tasks import suites as tasks

    if isinstance(task, LocalTask):
        assert ready.file is not None
        suite = tasks.local_suite([task], [thaw(ready.file)])
    else:
        suite = tasks.stock_suite(task, ready.folders)
    marks = tuple(FileMark.of(path) for path in rehearsal.data_files(suite))
    given = rehearsal.metrics(suite, reads=reads, refused=lambda: bool(_refused))
    return ready.model_copy(update={"data": marks, "metrics": given})


def _refuse_the_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook, called before Python's own sockets connect or look up a name.

    Raises:
        OSError: another host was asked for.
    """
    if event == "socket.connect":
        address = arguments[1]
        host = str(address[0]) if isinstance(address, tuple) else ""  # else a path: a socket of this host
    elif event == "socket.getaddrinfo":
        host = arguments[0].decode() if isinstance(arguments[0], bytes) else str(arguments[0] or "")
    else:
        return
    if host not in (*_HERE, socket.gethostname()) and not host.startswith("127."):
        _refused.append(host)
        raise OSError(errno.ENETUNREACH, f"{host}: hosts have no network")


def main(answer: Path) -> None:
    """Load what the question on standard input names, without a network; write what was found to `answer`."""
    question = _Question.model_validate_json(sys.stdin.read())
    sys.addaudithook(_refuse_the_network)
    evaluation = LitGPTEvaluation.model_validate(question.evaluation)
    try:
        found = _Answer(tasks=loaded(evaluation, question.prepared, Path(question.cache)))
    except InputError as error:
        found = _Answer(problems=error.problems)
    except EvaluationFailed as error:
        found = _Answer(problems=(str(error),))
    answer.write_text(dumps(json.loads(found.model_dump_json())), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
