"""A LitGPT checkpoint made of a Hugging Face model: fetched, converted, checked, then given its name.

cache/models/ORG/NAME                     whole, or not there
cache/models/.fetch-ORG--NAME.HOST.PID    being made, or left by a process that ended: the next one goes on
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from jobs.checkpoints import hub
from jobs.inputs.manifest import size_text
from orchestrator.contract import publish
from orchestrator.contract.files import dumps
from orchestrator.errors import InputError

Report = Callable[[str], None]
ORIGIN = "fetched.json"  # beside the checkpoint: repository, commit and checksums of what it was made of
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)  # of a rename: another directory has the name


def hub_checkpoint(repository: str, cache: Path, report: Report) -> Path:
    """The checkpoint of a Hugging Face id, from the cache or from the hub.

    Raises:
        InputError: it cannot be had; the text says why and what to do.
        OSError: the cache cannot be written.
    """
    models = cache / "models"
    path = models / repository
    if (path / "lit_model.pth").is_file():
        return path
    report(f"model: asking {hub.without_secrets(hub.endpoint())} for {repository}")
    found = hub.snapshot(repository)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = _folder(models, repository)
    _require_space(found, folder)
    hub.fetch(found, found.small, folder, report)
    from jobs.checkpoints import conversion  # imports torch and litgpt

    with _kept_no_longer(folder):
        conversion.known_name(repository, folder)  # before gigabytes are fetched
    hub.fetch(found, found.weights, folder, report)
    report(f"model: converting {repository}")
    (folder / "lit_model.pth").unlink(missing_ok=True)
    with _kept_no_longer(folder):
        conversion.convert(repository, folder)
        conversion.check(repository, folder)
    for file in found.weights:  # as large as the converted file, and never read again
        (folder / file.name).unlink()
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    publish(folder / ORIGIN, dumps(found.record()))
    _give_name(folder, path)
    return path


@contextmanager
def _kept_no_longer(folder: Path) -> Iterator[None]:
    """Remove the folder if the model in it cannot be used: fetched again, it would be the same."""
    try:
        yield
    except InputError:
        shutil.rmtree(folder)
        raise


def _folder(models: Path, repository: str) -> Path:
    """The folder in which this process works, with what a process of this host left when it ended.

    Every process has its own folder, and takes over one that is left by renaming it. So no two processes ever
    write the same file, and no lock is needed.
    """
    stem, host = f".fetch-{repository.replace('/', '--')}.", socket.gethostname()
    mine = models / f"{stem}{host}.{os.getpid()}"
    for left in sorted(models.glob(f"{stem}{host}.*")):
        pid = left.name.rpartition(".")[2]
        if left == mine or not pid.isdigit() or psutil.pid_exists(int(pid)):
            continue
        try:
            if mine.exists():
                shutil.rmtree(left)
            else:
                left.rename(mine)
        except OSError:  # another took it
            continue
    mine.mkdir(exist_ok=True)
    return mine


def _require_space(found: hub.Snapshot, folder: Path) -> None:
    """Check that the disk has room for a model.

    Raises:
        InputError: the originals and the converted weights beside them do not fit.
    """
    weights = sum(file.bytes for file in found.weights)
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    needed, free = found.bytes + weights - there, shutil.disk_usage(folder).free
    if needed > free:
        parts = (
            f"{size_text(found.bytes)} to fetch, {size_text(weights)} to convert, {size_text(there)} there"
        )
        raise InputError(
            f"model: {found.repository!r}: no space: {size_text(needed)} are needed in {folder.parent} "
            f"({parts}), {size_text(free)} are free: make room, or set shared_dir in the profile elsewhere"
        )


def _give_name(folder: Path, path: Path) -> None:
    """Flush the files in `folder` to disk, and rename it to `path`, unless that exists by now."""
    for file in folder.iterdir():
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
    try:
        folder.rename(path)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        shutil.rmtree(folder)  # another process gave it the name meanwhile: what it has is as whole
