"""Programs that a model writes: what they may do, what they may not, and when they have passed."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from jobs.attempt.failure import EvaluationFailed
from jobs.tasks import sandbox
from orchestrator.contract import Failure
from tests.executors.attempts import until

RAISES = "try:\n    {}\nexcept {}:\n    pass\nelse:\n    raise AssertionError"


def refuses(what: str, error: str = "OSError") -> str:
    return RAISES.format(what.replace("\n", "\n    "), error)


@pytest.mark.parametrize(
    "program",
    [
        "",
        "import collections, decimal, fractions, hashlib, heapq, itertools, math, random, re, string, typing",
        "import numpy\nassert numpy.ones(3).sum() == 3",
        "with open('note', 'w') as file:\n    file.write('x')\nassert open('note').read() == 'x'",
        "import threading\none = threading.Thread(target=print)\none.start()\none.join()",
        "assert __name__ == '__main__'",
        "print('x' * 10**6)\nimport sys\nassert sys.stdin.read() == ''",
    ],
)
def test_a_program_that_runs_to_its_end_has_passed(program: str) -> None:
    assert sandbox.passes(program)


@pytest.mark.parametrize(
    "program",
    [
        "assert 1 + 1 == 3",
        "def half(:",
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "raise SystemExit",
        "import os\nos.execv('/bin/true', ['true'])",
        "import os\nos.kill(os.getpid(), 9)",
        "print('0' * 32)\nimport os\nos._exit(0)",
        "x = 'a' * 5 * 2**30",
        "open('large', 'wb').write(bytes(2**25))",
    ],
)
def test_a_program_that_does_not_come_to_its_end_has_failed(program: str) -> None:
    assert not sandbox.passes(program)


def test_time_ends_programs_that_do_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert not sandbox.passes("while True:\n    pass", seconds=1)
    monkeypatch.setattr(sandbox, "_PATIENCE", 1)
    assert not sandbox.passes("import time\ntime.sleep(600)", seconds=1)
    until(lambda: not any(str(tmp_path) in command for command in commands()), "nothing of them is left")


def commands() -> list[str]:
    """Of all processes here; one may end while they are looked at."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return found


@pytest.mark.parametrize(
    "program",
    [
        refuses("open({readable!r})", "PermissionError"),
        refuses("open({outside!r}, 'w')", "PermissionError"),
        refuses("import os\nos.listdir({folder!r})", "PermissionError"),
        refuses("import os\nos.rename('/etc/hostname', '/etc/name')"),
        refuses("open('/proc/1/environ')", "PermissionError"),
        refuses("import socket\nsocket.socket(socket.AF_INET)", "PermissionError"),
        refuses("import socket\nsocket.socket(socket.AF_UNIX)", "PermissionError"),
        refuses("import os\nos.fork()", "PermissionError"),
        refuses("import subprocess\nsubprocess.run(['true'])", "PermissionError"),
        refuses("import os\nos.kill({process}, 0)", "ProcessLookupError"),
        "import ctypes\nassert ctypes.CDLL(None).socket(1, 1, 0) < 0",
    ],
)
def test_nothing_outside_is_reached(program: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    there = {"readable": str(tmp_path / "secret"), "outside": str(tmp_path / "new"), "folder": str(tmp_path)}
    assert sandbox.passes(program.format(**there, process=os.getpid()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret"]


def test_a_program_sees_nothing_of_the_jobs_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert sandbox.passes("import os\nassert 'HF_TOKEN' not in os.environ")


def test_a_host_without_walls_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a Python that ends as `jobs.tasks.sandbox_child` does where the kernel lacks something."""
    stand_in = tmp_path / "python"
    stand_in.write_text("#!/bin/sh\necho 'no Landlock: Function not implemented' >&2\nexit 70\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    with pytest.raises(
        EvaluationFailed, match=r"\(no Landlock: Function not implemented\).*Linux 5\.13"
    ) as raised:
        sandbox.require()
    assert raised.value.failure is Failure.MISSING_INPUT
    stand_in.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(EvaluationFailed, match="fails a program that does nothing"):
        sandbox.require()
