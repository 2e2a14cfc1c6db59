"""On the login node: fetch, check and freeze what an evaluation reads, so that compute nodes run offline."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from jobs.attempt.failure import is_full_disk
from jobs.data.instructions import Instruction
from jobs.data.tokens import cut_short, tokenized
from jobs.inputs import Prepared, require_prepared
from jobs.inputs.manifest import (
    DEMO,
    MODEL_FILES,
    FileMark,
    PreparedTask,
    digest,
    freeze,
    library_files,
    manifest_path,
    size_text,
)
from jobs.prepare import demo, offline, task_file
from jobs.prepare import sources as data_sources
from jobs.tasks.suites import read_documents
from orchestrator.contract import LitGPTEvaluation, publish
from orchestrator.contract.evaluation import LocalTask, StockTask, TaskFile
from orchestrator.contract.files import dumps
from orchestrator.errors import InputError

Report = Callable[[str], None]
T = TypeVar("T")


def prepare(evaluation: LitGPTEvaluation, cache: Path, report: Report) -> Prepared:
    """Bring what `evaluation` reads into `cache`; quick if it is there already.

    Args:
        evaluation: the section, its paths absolute.
        cache: a directory that login and compute nodes share; made if it does not exist.
        report: called with lines of text about what is done.

    Raises:
        InputError: every problem found, of model, data and tasks at once.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{cache}: cannot be made ({error.strerror}): correct shared_dir in the profile"
        ) from error
    with _alone(cache, report):
        try:
            return require_prepared(evaluation, cache)
        except InputError:
            return _prepared(evaluation, cache, report)


@contextmanager
def _alone(cache: Path, report: Report) -> Iterator[None]:
    """Let one `prepare` work at a time, so that a second one finds what the first one brought.

    Where a filesystem has no locks two may work at once. Every file appears whole, so the second only repeats
    the work.
    """
    with (cache / "prepare.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"another `prepare` is at work in {cache}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            report(f"{cache}: has no locks ({error.strerror}): a second `prepare` would do the same again")
        yield


def _prepared(evaluation: LitGPTEvaluation, cache: Path, report: Report) -> Prepared:
    """Bring everything into the cache, prove that no network is needed, and write the manifest last.

    Raises:
        InputError: every problem found.
    """
    os.environ.update(library_files(cache))
    made = demo.build(cache, report) if _wants_demo(evaluation) else None
    problems: list[str] = []
    model = _collected(problems, lambda: _model(evaluation, cache, made, report))
    data = _collected(problems, lambda: data_sources.gather(evaluation, cache, made, report))
    tasks = [_collected(problems, partial(_task, task, cache, made, report)) for task in evaluation.tasks]
    if model is None or data is None or problems:
        raise InputError(problems)
    train, val, sources = data
    for instructions in (train, val):
        _tokenize(evaluation, instructions, model, cache, report)
    marks = tuple(
        FileMark.of(model / name) for name in (*MODEL_FILES, "lit_model.pth") if (model / name).is_file()
    )
    frozen = freeze(train, cache), freeze(val, cache)
    files = [task for task in tasks if task is not None]
    content = [
        _model_digest(model),
        [one.sha256 for one in frozen],
        [[task.name, task.file.sha256 if task.file else ""] for task in files],
        [Path(folder).name for task in files for folder in task.folders if Path(folder).is_absolute()],
    ]
    sources += [
        Path(task.file) for task in evaluation.tasks if isinstance(task, LocalTask) and task.file != DEMO
    ]
    for task in evaluation.tasks:
        sources += task_file.sources(task) if isinstance(task, TaskFile) else []
    result = Prepared(
        digest=digest(content),
        model=str(model),
        model_files=marks,
        sources=tuple(FileMark.of(path) for path in sources),
        train=frozen[0],
        val=frozen[1],
        tasks=tuple(files),
    )
    report("loading all of it once more, without a network")
    result = offline.prove(evaluation, result, cache)
    _say_what_hosts_read(result, cache, report)
    path = manifest_path(evaluation, cache)
    path.parent.mkdir(exist_ok=True)
    publish(path, dumps(result.model_dump(mode="json")))
    report(f"prepared: {path}")
    return result


def _say_what_hosts_read(prepared: Prepared, cache: Path, report: Report) -> None:
    sizes = {prepared.model: sum(mark.bytes for mark in prepared.model_files)}
    frozen = [prepared.train, prepared.val, *(task.file for task in prepared.tasks if task.file)]
    sizes |= {one.path: Path(one.path).stat().st_size for one in frozen}
    sizes[str(cache / "tokens")] = sum(path.stat().st_size for path in (cache / "tokens").glob("*.npz"))
    for mark in {mark.path: mark for task in prepared.tasks for mark in task.data}.values():
        folder = str(Path(mark.path).parent)
        sizes[folder] = sizes.get(folder, 0) + mark.bytes
    report(f"hosts need no network: they read this, and the Python environment {sys.prefix}")
    for path, count in sizes.items():
        report(f"  {size_text(count):>10}  {path}")


def _collected(problems: list[str], work: Callable[[], T]) -> T | None:
    """The result of `work`; None if it failed for a reason that was added to `problems`."""
    try:
        return work()
    except InputError as error:
        problems.extend(error.problems)
    except OSError as error:
        remedy = (
            "make room and prepare again" if is_full_disk(error) else "check the path and its permissions"
        )
        problems.append(f"{error.filename or 'cache'}: {error.strerror or error}: {remedy}")
    return None


def _wants_demo(evaluation: LitGPTEvaluation) -> bool:
    files = [task.file for task in evaluation.tasks if isinstance(task, LocalTask)]
    return DEMO in (evaluation.model, evaluation.data, *files)


def _model(evaluation: LitGPTEvaluation, cache: Path, made: demo.Demo | None, report: Report) -> Path:
    """The directory of the model's checkpoint, which is fetched if need be, and checked.

    Raises:
        InputError: it cannot be fetched, or does not suit the evaluation.
        OSError: the cache cannot be written.
    """
    name = evaluation.model
    if name == DEMO:
        assert made is not None
        path = made.model
    elif Path(name).is_absolute():
        path = Path(name)
    else:
        # Imported now: the hub's library reads where its caches are when it is imported.
        from jobs.checkpoints.from_hub import hub_checkpoint

        path = hub_checkpoint(name, cache, report)
    from jobs.checkpoints import check as checkpoint  # imports torch and litgpt

    checkpoint.check(path, evaluation)
    report(f"model: {path}")
    return path


def _task(
    task: LocalTask | StockTask | TaskFile, cache: Path, made: demo.Demo | None, report: Report
) -> PreparedTask:
    """Bring a task and its data into the cache.

    Raises:
        InputError: there is no such task, or its data cannot be read or fetched.
    """
    if isinstance(task, LocalTask):
        if task.file == DEMO:
            assert made is not None
            path = made.task
        else:
            path = Path(task.file)
            if not path.is_file():
                raise InputError(f"tasks: {task.name!r}: {task.file}: no such file: give a JSONL file")
        documents = read_documents(task.model_copy(update={"limit": None}), path)
        report(f"task {task.name}: {len(documents)} items")
        return PreparedTask(name=task.name, file=freeze(documents, cache))
    if isinstance(task, TaskFile):
        report(f"task {task.name}: {task.yaml}")
        return task_file.freeze_task(task, cache)
    from jobs.prepare.stock_task import prepared_stock_task

    return prepared_stock_task(task, cache, report)


def _tokenize(
    evaluation: LitGPTEvaluation, data: Sequence[Instruction], model: Path, cache: Path, report: Report
) -> None:
    """Tokenize instructions, so that the cache holds the tokens.

    Raises:
        InputError: they are all too long to have anything to learn.
    """
    samples = tokenized(
        data,
        model,
        prompt_style=evaluation.prompt_style,
        max_length=evaluation.max_length,
        mask_prompt=evaluation.mask_prompt,
        cache=cache,
    )
    if not samples:
        raise InputError(
            f"max_length = {evaluation.max_length}: no instruction has anything left to learn: raise it"
        )
    tokens = sum(len(sample.ids) for sample in samples)
    report(f"tokens: {tokens} in {cut_short(samples, evaluation.max_length)}")


def _model_digest(model: Path) -> str:
    """A digest of the model's small files and of the size of its weights, whose content is gigabytes."""
    hashed = hashlib.sha256()
    for name in MODEL_FILES:
        if (model / name).is_file():
            hashed.update(name.encode() + (model / name).read_bytes())
    hashed.update(str((model / "lit_model.pth").stat().st_size).encode())
    return hashed.hexdigest()


__all__ = ["Prepared", "prepare", "require_prepared"]
