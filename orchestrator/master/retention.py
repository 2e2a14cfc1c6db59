"""What trained trials leave on the shared filesystem: the adapters of the best few, and nothing else.

What may go follows from the ledger alone, so nothing is written down about it: a master that dies between an
evaluation's record and the removal leaves something over, and the next one, which begins with a look at all
trials, removes it. A trial without an evaluation keeps everything: it is what the next attempt goes on from.
So does one whose failure may be the set-up's, for a resumed study tries it again. Where an attempt was given
up and may still run, its trial's turn comes at the end of the study.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from orchestrator.config import StudySpec
from orchestrator.contract import Failure, LitGPTEvaluation
from orchestrator.errors import StudyStopped
from orchestrator.master.setup_faults import held_back
from orchestrator.record import RunDirectory, StudyRecord
from orchestrator.record.facts import Noted
from orchestrator.record.history import End
from orchestrator.record.summary import kept

_MAY_RUN_ON = (Failure.LOST, Failure.HOST_FAULT, End.SUPERSEDED)
_CANNOT = "what trials that are not needed have trained cannot be removed, and takes space: "


class Retention:
    """Removes what is not needed any more. Looks at a trial's directory when that can have changed: at all of
    them when a master begins and when the study ends, in between at those of new outcomes.
    """

    def __init__(
        self,
        run: RunDirectory,
        spec: StudySpec,
        record: StudyRecord,
        say: Callable[[str], None],
    ) -> None:
        """Args:
        run: the study's directory.
        spec: the study.
        record: the study so far, which a note is added to.
        say: takes a line for people.
        """
        self._run, self._record, self._history, self._say = run, record, record.history, say
        self._count = spec.keep_adapters
        # A command's checkpoint is the user's own.
        self._is_ours = isinstance(spec.evaluation, LitGPTEvaluation)
        self._clean: set[tuple[int, bool]] = set()  # trials that were seen to; whether their adapter stays

    def sweep(self, *, last: bool = False) -> None:
        """Remove what the evaluations so far make needless.

        Args:
            last: nothing is open, and nothing more will be asked.
        """
        if not self._is_ours:
            return
        if last:
            self._clean.clear()
        best = {trial.number for trial in kept(self._history, self._count)}
        held = {trial.number for trial in held_back(self._history)}
        for trial in self._history.spent:
            stays = trial.number in best
            if trial.evaluation is None or trial.number in held or (trial.number, stays) in self._clean:
                continue
            if not last and any(attempt.ended in _MAY_RUN_ON for attempt in trial.attempts):
                continue
            checkpoint = self._run.checkpoint(trial.number)
            try:
                is_clean = _emptied(checkpoint, self._run.adapter(trial.number).name if stays else None)
            except OSError as error:
                self._tell(error)
            else:
                if is_clean:
                    self._clean.add((trial.number, stays))

    def _tell(self, error: OSError) -> None:
        """Say it once in the study's life: it is no reason to stop."""
        if any(note.startswith(_CANNOT) for note in self._history.notes):
            return
        text = f"{_CANNOT}{error.filename or self._run.path}: {error.strerror or error}"
        with contextlib.suppress(StudyStopped):  # a full disk is told where it hinders
            self._record.write(Noted(text=text))
        self._say(text)


def _emptied(checkpoint: Path, kept: str | None) -> bool:
    """Remove all but the file `kept`, and the directory itself if there is none such; True if that was all.

    Raises:
        OSError: something cannot be removed.
    """
    try:
        # What a process has open goes on NFS under such a name, until it is closed.
        entries = [
            one for one in os.scandir(checkpoint) if one.name != kept and not one.name.startswith(".nfs")
        ]
    except FileNotFoundError:
        return True
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            Path(entry.path).unlink(missing_ok=True)
    if kept is None:
        try:
            checkpoint.rmdir()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            return False  # another copy of its job writes there
    return True
