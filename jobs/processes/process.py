"""One process of a command that runs as several: started, watched, and never left behind.

Run by its path as `process.py SPEC.json [RANK LOCAL_RANK]`, on any host; under srun the numbers are SLURM's.
The leader (`launch.py`) holds this process's stdin open, through srun or ssh too. If it is closed, the leader
has died or wants the rank to end. What the program writes goes to RANK.log; how it ended is reported as one
line of JSON on stdout.

Imports no other module of this project: on another host only the interpreter, with its packages, and this
file are sure to be found.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

MARK = "orchestrator-rank "  # at the beginning of the line that reports the end
_LAST_LINES = 12
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of prctl(2)
_TOLD = (signal.SIGTERM, signal.SIGINT)


def main(spec: dict[str, Any], rank: int, local_rank: int) -> int:
    """Run the program of `spec` as this rank; return its exit status, as a shell gives it.

    Args:
        spec: what `launch.run_all` wrote to SPEC.json.
        rank: among all processes.
        local_rank: among those of this host.
    """
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # what the program leaves running becomes a child, to be ended
    wake = os.pipe()
    os.set_blocking(wake[1], False)
    signal.set_wakeup_fd(wake[1], warn_on_full_buffer=False)
    # A scheduler's warning goes to the leader too, who decides.
    for number in (*_TOLD, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, _nothing)
    log = Path(spec["folder"], f"{rank}.log")
    report: dict[str, Any] = {"rank": rank, "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname()}
    with log.open("ab") as file:
        try:
            program = subprocess.Popen(
                spec["argv"],
                cwd=spec["directory"],
                env={**os.environ, **spec["environment"], "RANK": str(rank), "LOCAL_RANK": str(local_rank)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 - no threads
            )
        except OSError as error:
            return _told({**report, "code": 127, "unstarted": error.strerror})
    told = _watched(program, wake[0], spec["grace_s"])
    code = program.returncode
    return _told({**report, "code": code, "told": told, "said": _last_lines(log)})


def _watched(program: subprocess.Popen[bytes], wake: int, grace_s: float) -> bool:
    """Wait for the program's end, and kill what it leaves running; True if it was told to end."""
    told, kill_at, sources = False, float("inf"), [wake, 0]
    while program.poll() is None:
        left = None if kill_at == float("inf") else max(0.0, kill_at - time.monotonic())
        ready, _, _ = select.select(sources, [], [], left)
        numbers = os.read(wake, 64) if wake in ready else b""
        closed = 0 in ready and not os.read(0, 4096)
        if closed:
            sources.remove(0)
        if not told and (closed or set(numbers) & set(_TOLD)):
            told, kill_at = True, time.monotonic() + grace_s
            _signal_group(program.pid, signal.SIGTERM)
        if time.monotonic() >= kill_at:
            kill_at = float("inf")
            _signal_group(program.pid, signal.SIGKILL)
    _signal_group(program.pid, signal.SIGKILL)
    while children := psutil.Process().children(recursive=True):
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=1)
    return told


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def _last_lines(log: Path) -> list[str]:
    """The last lines of the log that are not empty."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        text = file.read().decode(errors="replace")
    return [line for line in text.splitlines() if line.strip()][-_LAST_LINES:]


def _told(report: dict[str, Any]) -> int:
    """Report the end to the leader; return the exit status, as a shell gives it."""
    with suppress(OSError):  # the leader is gone
        print(MARK + json.dumps(report), flush=True)
    code: int = report["code"]
    return code if code >= 0 else 128 - code


def _nothing(_number: int, _frame: object) -> None:
    """Does nothing: the signal wakes `select` through the wake-up descriptor."""


if __name__ == "__main__":
    _spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    _numbers = sys.argv[2:4] or [os.environ["SLURM_PROCID"], os.environ["SLURM_LOCALID"]]
    sys.exit(main(_spec, *map(int, _numbers)))
