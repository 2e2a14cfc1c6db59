"""NOMAD 4 in a process of its own: it may abort or hang there, and every run is its process's first.

Both ends of one conversation, a line of JSON each. The master sends a run, and then, for every block that
NOMAD wants evaluated, [[coordinate, …], …], its losses, [number, or null where there is none, …]. A last
line {"stopped": why} says that NOMAD is done. With the answers of an earlier conversation a run repeats
itself up to its first new block: so NOMAD's state is its run and what is known, and needs no other memory.

This file is run by its path, isolated (`python -I`): it imports nothing of the package, and of the
environment it sees what `_ENVIRONMENT` names.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Block = list[list[float]]
Answer = Callable[[Block], list[float | None] | None]

LIMIT_S = 60.0  # of one conversation
COMMAND = (sys.executable, "-I", __file__)
_ENVIRONMENT = ("HOME", "LD_LIBRARY_PATH", "PATH", "TMPDIR")
_LONGEST_LINE = 1 << 26  # characters: of a program gone wild


class NomadFailed(Exception):
    """NOMAD aborted, hung or answered nonsense; the text says which, in one line."""


@dataclass(frozen=True, slots=True)
class Run:
    """One search of NOMAD's.

    Attributes:
        upper: (d,) of the box, whose lower end is 0.
        integer: (d,) whether an axis has whole numbers only.
        start: points evaluated first, the search goes on from the best: (n, d).
        seed: at least 0; 10⁹ take it a second.
        parallel: all points of an iteration in one block; else as NOMAD does by itself, one by one and never
            more than needed.
    """

    upper: list[float]
    integer: list[bool]
    start: Block
    seed: int
    parallel: bool

    @property
    def parameters(self) -> list[str]:
        """What NOMAD is told, but for the starting points."""
        kinds = " ".join("I" if whole else "R" for whole in self.integer)
        return [
            f"DIMENSION {len(self.upper)}",
            f"BB_INPUT_TYPE ( {kinds} )",
            "BB_OUTPUT_TYPE OBJ",
            f"SEED {self.seed}",
            f"MEGA_SEARCH_POLL {'yes' if self.parallel else 'no'}",
            f"BB_MAX_BLOCK_SIZE {1_000_000 if self.parallel else 1}",
            "NB_THREADS_PARALLEL_EVAL 1",
            "DISPLAY_DEGREE 0",
        ]


def library() -> str:
    """The folder that PyNomad is in.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    found = importlib.util.find_spec("PyNomad")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'PyNomad'", name="PyNomad")
    return str(Path(found.origin).parent)


def next_block(run: Run, answer: Answer) -> Block | None:
    """Converse until NOMAD wants what `answer` does not know: the block for which it returns None.

    Returns:
        The block, (n, d); None if NOMAD stopped before.

    Raises:
        NomadFailed: see there.
    """
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    environment["OMP_NUM_THREADS"] = "1"  # its threads would only wait, and spin while they do
    with tempfile.TemporaryDirectory(prefix="nomad-") as folder, open(f"{folder}/log", "w+b") as log:  # noqa: PTH123
        try:
            process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=environment,
                start_new_session=True,  # Ctrl-C is the master's
                text=True,
            )
        except OSError as error:
            raise NomadFailed(f"NOMAD did not start: {error}") from error
        hung = threading.Event()

        def stop() -> None:
            hung.set()
            process.kill()

        timer = threading.Timer(LIMIT_S, stop)
        timer.start()
        try:
            return _converse(process, run, answer)
        except (OSError, ValueError) as error:
            if hung.is_set():
                raise NomadFailed(f"NOMAD gave no answer within {LIMIT_S:g} s") from error
            process.kill()
            log.seek(0)
            last = (log.read().decode(errors="replace").strip().splitlines() or [""])[-1][:200]
            raise NomadFailed(f"NOMAD failed: {error}" + (f" ({last})" if last else "")) from error
        finally:
            timer.cancel()
            process.kill()
            with contextlib.suppress(OSError):
                process.communicate()


def _converse(process: subprocess.Popen[str], run: Run, answer: Answer) -> Block | None:
    """Raises: OSError, ValueError: the other end is gone, or what it says makes no sense."""
    assert process.stdin
    assert process.stdout
    words: Any = {**asdict(run), "parameters": run.parameters, "library": library(), "limit_s": LIMIT_S}
    while True:
        process.stdin.write(json.dumps(words) + "\n")
        process.stdin.flush()
        line = process.stdout.readline(_LONGEST_LINE)
        if not line:
            raise ValueError("it ended without an answer")
        block = json.loads(line)
        if isinstance(block, dict) and set(block) == {"stopped"}:
            return None
        _check(block, run)
        words = answer(block)
        if words is None:
            return list(block)


def _check(block: Any, run: Run) -> None:
    if not isinstance(block, list) or not block:
        raise ValueError("it answered no block of points")
    for point in block:
        if (
            not isinstance(point, list)
            or len(point) != len(run.upper)
            or not all(
                isinstance(x, float) and 0 <= x <= high for x, high in zip(point, run.upper, strict=True)
            )
            or not all(x.is_integer() for x, whole in zip(point, run.integer, strict=True) if whole)
        ):
            raise ValueError(f"it answered {str(point)[:100]}, which is no point of the box")


def main() -> None:
    """NOMAD's end of the conversation."""
    run = json.loads(sys.stdin.readline())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seconds = math.ceil(run["limit_s"]) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))  # should the master be gone
    mouth = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what NOMAD prints is no answer
    sys.path.append(run["library"])
    nomad = importlib.import_module("PyNomad")

    def ask(points: Sequence[Any]) -> list[bool]:
        d = len(run["upper"])
        # min, max: a sum of steps may end a rounding error outside
        coordinates = [[min(max(x.get_coord(i), 0.0), run["upper"][i]) for i in range(d)] for x in points]
        mouth.write(json.dumps(coordinates) + "\n")
        mouth.flush()
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # the master has what it wanted; an exception would not get through NOMAD
        losses = json.loads(line)
        for x, loss in zip(points, losses, strict=True):
            x.setBBO(repr(loss).encode())
        return [loss is not None for loss in losses]

    def one(x: Any) -> bool:
        return ask([x])[0]

    def several(block: Any) -> list[bool]:
        return ask([block.get_x(i) for i in range(block.size())])

    rows = [" ".join(repr(float(x)) for x in point) for point in run["start"]]
    Path("start.txt").write_text("\n".join(rows) + "\n", encoding="ascii")
    result = nomad.optimize(
        several if run["parallel"] else one,
        [],
        [0.0] * len(run["upper"]),
        run["upper"],
        [*run["parameters"], "X0 start.txt"],
    )
    mouth.write(json.dumps({"stopped": result["stop_reason"]}) + "\n")
    mouth.flush()


if __name__ == "__main__":
    main()
