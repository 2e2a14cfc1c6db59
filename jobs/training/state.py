"""What an interrupted training goes on from: its state after so many steps, and at its end the adapter.

    training-KEY-STEP.pth   adapter, optimizer and losses; a later one replaces it
    adapter.pth             the finished adapter; it replaces the former. With all of a state, where a longer
                            training of the same lineage may go on from it

KEY is a digest of everything that decides what is learnt. Several processes may write here at once: a job
that was requeued while it still runs elsewhere, or two attempts at one trial. Each does the same computation,
so it does not matter whose state is used; files appear whole, and the furthest counts.
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

EVERY_S = 60.0  # at least, between two states …
SHARE = 0.01  # … and so much longer that saving takes less than this share of the time
_BYTES_PER_S = 100e6  # of a shared filesystem, until one state was written

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Beginning:
    """The end of a shorter training, as the beginning of this one.

    Attributes:
        lineage: digest of all that decides the first steps of this one.
        file: what the shorter one's `finish` wrote; None: there is none.
        most_steps: that this one has in common with a shorter one.
    """

    lineage: str
    file: Path | None
    most_steps: int


class TrainingStates:
    """The states of one training in a folder, made when it is needed."""

    def __init__(
        self, folder: Path, key: str, steps: int, stages: Stages, beginning: Beginning | None = None
    ) -> None:
        """Args:
        folder: of the trial.
        key: digest of everything that decides what is learnt.
        steps: of the whole training.
        stages: is told what share of it is saved.
        beginning: None if the length of the training decides its first steps too.
        """
        self._folder, self._key, self._steps, self._stages = folder, key, steps, stages
        self._beginning = beginning
        self._saved_at, self._cost_s = time.monotonic(), 0.0
        stages.trained = 0.0

    @property
    def adapter(self) -> Path:
        return self._folder / "adapter.pth"

    def finished(self) -> State | None:
        """What `finish` wrote."""
        state = self._read(self.adapter) if self.adapter.is_file() else None
        if state is not None:
            self._stages.trained = 1.0
            self.clear()  # what a slower copy may have left
        return state

    def furthest(self) -> State | None:
        """What `save` wrote last, of all processes; else what a shorter training ended with."""
        tried = set[Path]()
        while left := set(self._states()) - tried:  # listed again: another process may just replace them
            tried.add(path := max(left))
            if (state := self._read(path)) is not None:
                return self._gone_on(state, path)
        return None if self._beginning is None else self._begun(self._beginning)

    def _begun(self, beginning: Beginning) -> State | None:
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
        self._stages.trained = state["step"] / self._steps
        self._stages.say(f"goes on after step {state['step']} of {self._steps}, from {path}")
        return state

    def due(self) -> bool:
        """True if the state should be saved now, lest a power cut cost more."""
        pause_s = max(EVERY_S, self._cost_s / SHARE)
        return time.monotonic() - self._saved_at >= pause_s

    def expect(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Tell `due` beforehand what a state costs: twice more of these goes into the optimizer's part."""
        self._cost_s = 3 * sum(one.numel() * one.element_size() for one in tensors.values()) / _BYTES_PER_S

    def save(self, step: int, state: State) -> None:
        """Keep `state` after `step` steps. One that cannot be written costs safety, not the training."""
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
        """Keep `state`, the finished adapter, in place of all before.

        Raises:
            OSError: it could not be written.
        """
        self._write(self.adapter, state)
        self._stages.trained = 1.0
        self.clear()

    def clear(self) -> None:
        """Remove what the training would go on from, half-written ones of killed processes too."""
        self._remove(*self._folder.glob("training-*"), *self._folder.glob(".training-*"))

    @property
    def _stem(self) -> str:
        return f"training-{self._key[:16]}-"

    def _states(self) -> list[Path]:
        return list(self._folder.glob(f"{self._stem}*.pth"))

    def _read(self, path: Path, lineage: str | None = None) -> State | None:
        """A state of this training; of any of that lineage, if one is given."""
        try:
            state: State = torch.load(path, map_location="cpu", weights_only=True)
            if state["key"] == self._key if lineage is None else state["lineage"] == lineage:
                return state
            why = "it is of another training"
        except Exception as error:  # noqa: BLE001 - torn or damaged, it fails anyhow
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        self._stages.say(f"{path} is not used: {why}")
        return None

    def _write(self, path: Path, state: State) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()  # written by ourselves: a full disk is told as what it is
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
