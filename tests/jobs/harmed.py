"""`jobs.evaluate` on several processes, one of which comes to harm in a step of the training.

HARM: `nan`, a loss that is none; `kill`, SIGKILL; `error`, an exception; `hold`, all wait until the end is
announced, and the file held-RANK appears. HARMED_RANK, HARMED_AT: which process, in which step, from 0.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from jobs import evaluate
from jobs.evaluations import litgpt_worker


def harm() -> None:
    """Make the training of this process what the environment says."""
    from jobs.model import loss
    from jobs.training import finetune

    losses, advance = loss.sample_losses, finetune._Training.advance
    trainings: list[finetune._Training] = []

    def noted(training: finetune._Training, batch: Any) -> float:
        trainings[:] = [training]
        return advance(training, batch)

    def harmed(*arguments: Any) -> Any:
        found = losses(*arguments)
        how, rank = os.environ["HARM"], os.environ["RANK"]
        if not trainings or trainings[0].step != int(os.environ["HARMED_AT"]):
            return found
        if how == "hold":
            Path(sys.argv[1], f"held-{rank}").touch()
            assert trainings[0]._interruption.is_announced(within_s=300)
        elif rank == os.environ["HARMED_RANK"]:
            if how == "nan":
                return found * float("nan")
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("this rank is broken")
        return found

    setattr(loss, "sample_losses", harmed)  # noqa: B010 - mypy holds a module's functions for fixed
    setattr(finetune._Training, "advance", noted)  # noqa: B010


if "RANK" in os.environ:
    harm()
    sys.exit(litgpt_worker.main(Path(sys.argv[1])))
litgpt_worker.MODULE = "tests.jobs.harmed"
evaluate.evaluate(sys.argv[1])
