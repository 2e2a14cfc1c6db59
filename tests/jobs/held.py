"""`jobs.evaluate`, held in the middle of a training step until somebody ends it.

HELD_AT: the step, counted from 0; its first micro-batch is done by then, with its dropout drawn. The file
`held` appears in the attempt's directory. HELD_EVERY_S: at least so long between two states kept.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

from jobs.model import loss
from jobs.tasks import score as _score  # noqa: F401 - loaded before the time of the evaluation runs
from jobs.training import finetune, state

_losses, _advance = loss.sample_losses, finetune._Training.advance
_training: list[finetune._Training] = []


def _noted(training: finetune._Training, batch: Any) -> float:
    _training[:] = [training]
    return _advance(training, batch)


def _held(*arguments: Any) -> Any:
    losses = _losses(*arguments)
    if _training and _training[0].step == int(os.environ["HELD_AT"]):
        Path(sys.argv[1], "held").touch()
        assert _training[0]._interruption is not None
        assert _training[0]._interruption.is_announced(within_s=300)
    return losses


setattr(loss, "sample_losses", _held)  # noqa: B010 - mypy holds a module's functions for fixed
setattr(finetune._Training, "advance", _noted)  # noqa: B010
state.EVERY_S = float(os.environ.get("HELD_EVERY_S", "60"))
state.SHARE = 1e9
runpy.run_module("jobs.evaluate", run_name="__main__")
