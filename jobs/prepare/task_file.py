"""A user's own task in lm-eval's YAML, with its data files: both are copied into the cache for the hosts."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import yaml

from jobs.attempt.failure import one_line
from jobs.inputs.manifest import PreparedTask
from orchestrator.contract import publish
from orchestrator.contract.evaluation import TaskFile
from orchestrator.errors import InputError

_READERS = ("json", "csv", "parquet", "text")  # of the `datasets` library, for local files


def freeze_task(task: TaskFile, cache: Path) -> PreparedTask:
    """Copy the task and its data into `cache`, under names that are digests of their content.

    Raises:
        InputError: the file is no task that can be used, or a data file does not exist.
    """
    content, files = _read(task)
    frozen = {split: str(_frozen(file, cache)) for split, file in files.items()}
    settings = {**content["dataset_kwargs"], "data_files": frozen}
    text = yaml.safe_dump({**content, "dataset_kwargs": settings}, sort_keys=True)
    folder = cache / "tasks" / hashlib.sha256(text.encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    publish(folder / f"{task.name}.yaml", text)
    return PreparedTask(name=task.name, folders=(str(folder),))


def sources(task: TaskFile) -> list[Path]:
    """The user's files that the task is made of.

    Raises:
        InputError: the file is no task that can be used, or a data file does not exist.
    """
    return [Path(task.yaml), *_read(task)[1].values()]


def _read(task: TaskFile) -> tuple[dict[str, Any], dict[str, Path]]:
    """The content of the YAML file, and the data file of each split.

    Raises:
        InputError: the file is no task that can be used, or a data file does not exist.
    """
    path = Path(task.yaml)
    where = f"tasks: {task.name!r}: {path}"
    content = _content(path, where)
    if content.get("task") != task.name:
        raise InputError(f"{where}: is the task {content.get('task')!r}: give it as name, or rename it there")
    if content.get("dataset_path") not in _READERS:
        raise InputError(
            f"{where}: dataset_path is {content.get('dataset_path')!r}: give one of {', '.join(_READERS)}, "
            "and files in dataset_kwargs.data_files; tasks that lm-eval ships go by their name"
        )
    settings = content.get("dataset_kwargs")
    named = settings.get("data_files") if isinstance(settings, dict) else None
    splits: dict[str, Any] = named if isinstance(named, dict) else {"train": named}
    if not named or not all(isinstance(one, str) for one in splits.values()):
        raise InputError(f"{where}: dataset_kwargs.data_files names no files: give split: file, one each")
    files = {split: path.parent / name for split, name in splits.items()}
    if absent := [str(file) for file in files.values() if not file.is_file()]:
        raise InputError(f"{where}: {', '.join(absent)}: no such file")
    return content, files


def _content(path: Path, where: str) -> dict[str, Any]:
    """The content of a YAML file; `where` begins the messages.

    Raises:
        InputError: it cannot be read, or includes another file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{where}: no such file: give a task in lm-eval's YAML") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"{where}: cannot be read ({one_line(str(error))}): functions (!function) are not taken over"
        ) from error
    if not isinstance(content, dict) or "include" in content:
        raise InputError(f"{where}: is no whole task: write out what it includes")
    return content


def _frozen(file: Path, cache: Path) -> Path:
    """A copy of a file in `cache`, named by the SHA-256 of its content."""
    content = file.read_bytes()
    frozen = cache / "data" / f"{hashlib.sha256(content).hexdigest()}{file.suffix}"
    if not frozen.is_file():
        frozen.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".freeze-", dir=frozen.parent) as folder:
            (whole := Path(folder) / frozen.name).write_bytes(content)
            whole.replace(frozen)
    return frozen
