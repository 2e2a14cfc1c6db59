"""A task that lm-eval ships, its data sets fetched whole into the shared cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from jobs.checkpoints.hub import HubFile, endpoint, said, without_secrets
from jobs.inputs.manifest import PreparedTask, library_files
from jobs.tasks.suites import Suite, stock_folders, stock_suite
from orchestrator.contract.evaluation import StockTask
from orchestrator.errors import InputError

_ATTEMPTS = 2
_SUMS = {40: "git-sha1", 64: "sha256"}  # by the length of a blob's name, which is its checksum


def prepared_stock_task(task: StockTask, cache: Path, report: Callable[[str], None]) -> PreparedTask:
    """Fetch the data sets of a task that lm-eval ships.

    Raises:
        InputError: lm-eval has no such task, it runs programs and must not, or its data cannot be fetched.
    """
    folders = stock_folders(task.name)
    suite = _loaded(task, folders, Path(library_files(cache)["HF_HUB_CACHE"]))
    report(f"task {task.name}: {len(suite.loaded['tasks'])} of lm-eval's tasks")
    return PreparedTask(name=task.name, folders=tuple(folders))


def _loaded(task: StockTask, folders: list[str], blobs: Path) -> Suite:
    """Load a task, which fetches its data sets, and check these.

    The `datasets` library does not check content: without this, an error page as long as the file would be
    kept.

    Args:
        task: the task.
        folders: where lm-eval defines it.
        blobs: the folder to which the Hugging Face hub's library fetches files.

    Raises:
        InputError: the task cannot be used, or its data cannot be fetched.
    """
    from jobs.prepare.rehearsal import data_files

    problem = ""
    for _ in range(_ATTEMPTS):
        suite = None
        try:
            suite = stock_suite(task, folders)
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 - data sets raise what they like
            problem = _problem(error)
        if not (damaged := _discard_damaged(blobs)):
            if suite is not None:
                return suite
            break
        problem = f"its data set came damaged ({', '.join(damaged)}): run it again, or from another network"
        if suite is not None:
            for folder in {path.parent for path in data_files(suite)}:
                shutil.rmtree(folder)
    # The text of a cause may hold a token or a signed address: it goes no further.
    raise InputError(f"tasks: {task.name!r}: {problem}")


def _discard_damaged(blobs: Path) -> list[str]:
    """Remove files that do not have the checksum in their name; return the names of their data sets."""
    damaged = []
    for blob in sorted(blobs.glob("datasets--*/blobs/*")):
        if not (algorithm := _SUMS.get(len(blob.name))):
            continue  # still being fetched
        as_listed = HubFile(blob.name, blob.stat().st_size, algorithm, blob.name)
        if as_listed.differs(blob):
            blob.unlink()
            damaged.append(blob.parts[-3].removeprefix("datasets--").replace("--", "/"))
    return damaged


def _problem(error: Exception) -> str:
    """Why a data set could not be fetched and what to do, in one line without secrets."""
    text = f"{type(error).__name__}: {said(error)}"
    if any(word in text.lower() for word in ("gated", "401", "403", "authenticated")):
        remedy = f"accept its licence at its page under {endpoint()}/datasets, and set HF_TOKEN"
    else:
        remedy = "check the network of this host, or give the task as a JSONL file"
    return f"its data set could not be fetched: {text}: {without_secrets(remedy)}"
