"""The saved states of a training, from which it goes on after an interruption.

    training-KEY-STEP.pth   adapter, optimizer and losses after STEP steps; a later one replaces it
    adapter.pth             the finished adapter, which replaces the former. It holds a whole state where a
                            longer training of the same lineage (see `jobs.inputs.lineage`) may go on from it

KEY is the beginning of a digest of everything that decides what is learnt. Several processes may write here
at once: a job that was requeued while it still runs elsewhere, or two attempts at one trial. Each does the
same computation, so it does not matter whose state is used. Files appear whole, and the furthest state is
used.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jobs.attempt import directory as attempt
from jobs.attempt.stages import Stages
from orchestrator.contract.attempt import ADAPTER

EVERY_S = 60.0  # seconds between two states at least …
SHARE = 0.01  # … and more, so that saving takes less than this share of the time
_BYTES_PER_S = 100e6  # of a shared filesystem: assumed until a state was written

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Beginning:
    """The end of a shorter training, as the beginning of this one.

    Attributes:
        lineage: digest of everything that decides the first steps of this training.
        file: what the shorter training wrote with `TrainingStates.finish`; None: there is none.
        most_steps: the number of steps that this training can have in common with a shorter one.
    """

    lineage: str
    file: Path | None
    most_steps: int


class TrainingStates:
    """The saved states of one training, in a folder that is made when it is needed."""

    def __init__(
        self, folder: Path, key: str, steps: int, stages: Stages, beginning: Beginning | None = None
    ) -> None:
        """Take note of the training; nothing is read or written yet.

        Args:
            folder: of the trial.
            key: digest of everything that decides what is learnt.
            steps: of the whole training.
            stages: keeps the share of the training that is saved, and writes the log.
            beginning: a shorter training to go on from; None if the first steps depend on the length.
        """
        self._folder, self._key, self._steps, self._stages = folder, key, steps, stages
        self._beginning = beginning
        self._saved_at, self._cost_s = time.monotonic(), 0.0
        stages.trained = 0.0

    @property
    def adapter(self) -> Path:
        """The file of the finished adapter, which need not be there."""
        return self._folder / ADAPTER

    def finished(self) -> State | None:
        """What `finish` wrote; None if the training is not finished."""
        state = self._read(self.adapter) if self.adapter.is_file() else None
        if state is not None:
            self._stages.trained = 1.0
            self.clear()  # what a slower copy may have left
        return state

    def furthest(self) -> State | None:
        """The furthest state that any process saved, else the end of a shorter training, else None."""
        tried = set[Path]()
        while left := set(self._states()) - tried:  # listed again: another process may just replace them
            tried.add(path := max(left))
            if (state := self._read(path)) is not None:
                return self._gone_on(state, path)
        return None if self._beginning is None else self._begun(self._beginning)

    def _begun(self, beginning: Beginning) -> State | None:
        """The state at the end of a shorter training, if this one can go on from it."""
        if (path := beginning.file) is None or (state := self._read(path, beginning.lineage)) is None:
            return None
        if state["step"] <= beginning.most_steps:
            return self._gone_on(state, path)
        self._stages.say(
            f"{path} is not used: it is {state['step']} steps long, and no more than "
            f"{beginning.most_steps} are this training's too"
        )
        return None

    def _gone_on(self, state: State, path: Path) -> State:
        """`state` itself, after a note in the log that the training goes on from it."""
        self._stages.trained = state["step"] / self._steps
        self._stages.say(f"goes on after step {state['step']} of {self._steps}, from {path}")
        return state

    def due(self) -> bool:
        """True if it is time to save a state, as `EVERY_S` and `SHARE` demand."""
        pause_s = max(EVERY_S, self._cost_s / SHARE)
        return time.monotonic() - self._saved_at >= pause_s

    def expect(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Estimate for `due` how long saving takes: `tensors`, and two moments of AdamW for each of them."""
        self._cost_s = 3 * sum(one.numel() * one.element_size() for one in tensors.values()) / _BYTES_PER_S

    def save(self, step: int, state: State) -> None:
        """Save `state`, that after `step` steps. If it cannot be written, the training goes on without."""
        begun, path = time.monotonic(), self._folder / f"{self._stem}{step:09d}.pth"
        try:
            self._write(path, {**state, "step": step})
        except OSError as error:
            self._stages.say(f"the state after step {step} is not saved: {error}")
        else:
            self._stages.trained = step / self._steps
            self._remove(*(one for one in self._states() if one < path))
            self._stages.say(f"the state after step {step} of {self._steps} is in {path}")
        self._saved_at = time.monotonic()
        self._cost_s = self._saved_at - begun

    def finish(self, state: State) -> None:
        """Save `state`, which holds the finished adapter, and remove all states before it.

        Raises:
            OSError: it could not be written.
        """
        self._write(self.adapter, state)
        self._stages.trained = 1.0
        self.clear()

    def clear(self) -> None:
        """Remove all states of the unfinished training, half-written ones of killed processes included."""
        self._remove(*self._folder.glob("training-*"), *self._folder.glob(".training-*"))

    @property
    def _stem(self) -> str:
        return f"training-{self._key[:16]}-"

    def _states(self) -> list[Path]:
        return list(self._folder.glob(f"{self._stem}*.pth"))

    def _read(self, path: Path, lineage: str | None = None) -> State | None:
        """The state in a file; None if it is not of this training or, where one is given, of that lineage."""
        try:
            state: State = torch.load(path, map_location="cpu", weights_only=True)
            if state["key"] == self._key if lineage is None else state["lineage"] == lineage:
                return state
            why = "it is of another training"
        except Exception as error:  # noqa: BLE001 - reading a damaged file may raise anything
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        self._stages.say(f"{path} is not used: {why}")
        return None

    def _write(self, path: Path, state: State) -> None:
        """Write a state so that the file appears whole.

        Raises:
            OSError: it could not be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()  # not written by PyTorch, which hides that a disk is full
        lineage = None if self._beginning is None else self._beginning.lineage
        torch.save({**state, "key": self._key, "lineage": lineage}, content)
        temporary = self._folder / f".{path.name}.{attempt.copy_name()}"
        try:
            with temporary.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    @staticmethod
    def _remove(*paths: Path) -> None:
        for path in paths:
            with suppress(OSError):
                path.unlink()
