"""The TPE of NNI 3.0, in an interpreter of its own: NNI pins old releases of libraries we need newer.

    python3 -m venv nni && nni/bin/pip install nni==3.0
    export ORCHESTRATOR_NNI=$PWD/nni/bin/python

Every axis goes to it as the unit interval: what NNI calls `loguniform` and `quniform` is the same thing with
its own scaling and rounding at the ends, which here are those of `space/parameter.py`. Choices are its
`choice`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import InputError, StudyStopped
from orchestrator.space import Point, SearchSpace
from orchestrator.space.space import Choice, Parameter

VARIABLE = "ORCHESTRATOR_NNI"
VERSION = "3.0"
_TUNER = Path(__file__).with_name("nni_process.py")
_LONGEST_S = 600  # a call takes 2 s


def check() -> None:
    """Look for NNI where it is said to be.

    Raises:
        InputError: it is not there, or is another version.
    """
    python = _interpreter()
    command = [python, "-I", "-c", "from importlib.metadata import version; print(version('nni'))"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        found = ""
    if found != VERSION:
        raise InputError(
            f'tpe: engine = "nni" needs NNI {VERSION}, and {python} has {found or "none"}: '
            f"python3 -m venv nni && nni/bin/pip install nni=={VERSION} && "
            f"export {VARIABLE}=$PWD/nni/bin/python"
        )


def draw(
    space: SearchSpace,
    history: Sequence[tuple[Point, float | None]],
    count: int,
    *,
    seed: int,
    n_init: int,
) -> list[Point]:
    """Ask NNI for `count` points; the arguments are those of `tpe_optuna.draw`.

    Raises:
        StudyStopped: NNI failed or did not answer.
    """
    axes = tuple(space.parameters.values())
    options = [len(axis.options) if isinstance(axis, Choice) else 0 for axis in axes]
    told = [[[*map(_value, axes, point)], score] for point, score in history]
    request = {"seed": seed, "n_init": n_init, "options": options, "history": told, "count": count}
    python = _interpreter()
    try:
        process = subprocess.run(
            [python, "-I", str(_TUNER)],
            input=json.dumps(request, allow_nan=False),
            capture_output=True,
            text=True,
            check=True,
            timeout=_LONGEST_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        text = str(getattr(error, "stderr", None) or error).strip().splitlines()
        raise StudyStopped(f"tpe: NNI in {python} failed: {text[-1]}: mend it and resume") from error
    drawn = json.loads(process.stdout.splitlines()[-1])  # NNI logs above it
    return [tuple(map(_unit, axes, values)) for values in drawn]


def _value(axis: Parameter, unit: float) -> float:
    return axis.position(axis.decode(unit)) if isinstance(axis, Choice) else unit


def _unit(axis: Parameter, value: float) -> float:
    return axis.encode(axis.options[int(value)]) if isinstance(axis, Choice) else value


def _interpreter() -> str:
    return os.environ.get(VARIABLE) or sys.executable
