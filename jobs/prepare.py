"""On the login node: fetch, check and freeze what an evaluation reads, so that compute nodes run offline."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from jobs import demo
from jobs.data import Instruction, read_instructions, split, tokenized
from jobs.prepared import (
    DEMO,
    MODEL_FILES,
    FileMark,
    Prepared,
    PreparedTask,
    digest,
    freeze,
    library_files,
    manifest_path,
    require_prepared,
)
from jobs.tasks import read_documents
from orchestrator.errors import InputError
from orchestrator.evaluation import LitGPTEvaluation, LocalTask, StockTask
from orchestrator.files import dumps, publish

Report = Callable[[str], None]
T = TypeVar("T")


def prepare(evaluation: LitGPTEvaluation, cache: Path, report: Report) -> Prepared:
    """Bring what `evaluation` reads into `cache`; quick if it is there already.

    Args:
        evaluation: the section, its paths absolute.
        cache: a directory that login and compute nodes share; made if it does not exist.
        report: is told, line by line, what is done.

    Raises:
        InputError: every problem found, of model, data and tasks at once.
    """
    cache.mkdir(parents=True, exist_ok=True)
    # Where a filesystem has no locks two may work at once: every file appears whole, the second only redoes.
    with FileLock(cache / "prepare.lock"):
        try:
            return require_prepared(evaluation, cache)
        except InputError:
            return _prepared(evaluation, cache, report)


def _prepared(evaluation: LitGPTEvaluation, cache: Path, report: Report) -> Prepared:
    os.environ.update(library_files(cache))
    made = demo.build(cache, report) if _wants_demo(evaluation) else None
    problems: list[str] = []
    model = _collected(problems, lambda: _model(evaluation, cache, made, report))
    data = _collected(problems, lambda: _data(evaluation, made, report))
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
    ]
    sources += [
        Path(task.file) for task in evaluation.tasks if isinstance(task, LocalTask) and task.file != DEMO
    ]
    result = Prepared(
        digest=digest(content),
        model=str(model),
        model_files=marks,
        sources=tuple(FileMark.of(path) for path in sources),
        train=frozen[0],
        val=frozen[1],
        tasks=tuple(files),
    )
    path = manifest_path(evaluation, cache)
    path.parent.mkdir(exist_ok=True)
    publish(path, dumps(result.model_dump(mode="json")))
    report(f"prepared: {path}")
    return result


def _collected(problems: list[str], work: Callable[[], T]) -> T | None:
    try:
        return work()
    except InputError as error:
        problems.extend(error.problems)
    except OSError as error:
        problems.append(
            f"{error.filename or 'cache'}: {error.strerror or error}: check the path and its permissions"
        )
    return None


def _wants_demo(evaluation: LitGPTEvaluation) -> bool:
    files = [task.file for task in evaluation.tasks if isinstance(task, LocalTask)]
    return DEMO in (evaluation.model, evaluation.data, *files)


def _model(evaluation: LitGPTEvaluation, cache: Path, made: demo.Demo | None, report: Report) -> Path:
    name = evaluation.model
    if name == DEMO:
        assert made is not None
        path = made.model
    elif Path(name).is_absolute():
        path = Path(name)
    else:
        path = _downloaded(name, cache, report)
    from jobs import checkpoint  # imports torch and litgpt

    checkpoint.check(path, evaluation)
    report(f"model: {path}")
    return path


def _downloaded(repository: str, cache: Path, report: Report) -> Path:
    """The checkpoint of a Hugging Face id, fetched and converted in a temporary directory, then renamed."""
    path = cache / "models" / repository
    if path.is_dir():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    report(f"model: fetching {repository} from the Hugging Face hub")
    from litgpt.scripts.download import download_from_hub

    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache / "models") as folder:
        fetched = Path(folder) / repository
        try:
            download_from_hub(
                repository, access_token=os.environ.get("HF_TOKEN"), checkpoint_dir=Path(folder)
            )
        except Exception as error:
            # LitGPT and the hub raise a dozen classes for: offline, no such name, gated, interrupted.
            text = " ".join(str(error).split())[:300]
            raise InputError(
                f"model: {repository!r} could not be fetched: {type(error).__name__}: {text}: check the "
                "name, the network here, and HF_TOKEN if it is gated; or give a LitGPT checkpoint directory"
            ) from error
        if not (fetched / "lit_model.pth").is_file():
            raise InputError(
                f"model: {repository!r} is not one that LitGPT knows (`litgpt download list`): "
                "give one of those, or a LitGPT checkpoint directory"
            )
        for pattern in ("*.bin", "*.safetensors"):  # as large as the converted file, and never read again
            for original in fetched.glob(pattern):
                original.unlink()
        shutil.rmtree(fetched / ".cache", ignore_errors=True)
        fetched.rename(path)
    return path


def _data(
    evaluation: LitGPTEvaluation, made: demo.Demo | None, report: Report
) -> tuple[list[Instruction], list[Instruction], list[Path]]:
    """Training and held-out instructions, and the user's files they came from."""
    if evaluation.data == DEMO:
        assert made is not None
        train = read_instructions(made.train)
        sources, held_out = [], made.val
    else:
        train = read_instructions(_file(evaluation.data, "data"))
        sources = [Path(evaluation.data)]
        held_out = None
    if evaluation.val_data is not None:
        held_out = _file(evaluation.val_data, "val_data")
        sources.append(held_out)
    if held_out is not None:
        val = read_instructions(held_out)
    elif len(train) < 2:
        raise InputError(f"{evaluation.data}: holds one instruction: give more, or val_data")
    else:
        train, val = split(train, evaluation.val_fraction)
    report(f"data: {len(train)} instructions to train on, {len(val)} held out")
    return train, val, sources


def _file(name: str, key: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise InputError(f"{key}: {name}: no such file: give a JSON or JSONL file in Alpaca layout")
    return path


def _task(task: LocalTask | StockTask, cache: Path, made: demo.Demo | None, report: Report) -> PreparedTask:
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
    from jobs.tasks import stock_folders, stock_suite

    folders = stock_folders(task.name)
    try:
        suite = stock_suite(task, folders)
    except InputError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise InputError(
            f"tasks: {task.name!r}: its data set could not be fetched: {type(error).__name__}: {text}: "
            "check the network of this host, or give the task as a JSONL file"
        ) from error
    report(f"task {task.name}: {len(suite.loaded['tasks'])} of lm-eval's tasks")
    return PreparedTask(name=task.name, folders=tuple(folders))


def _tokenize(
    evaluation: LitGPTEvaluation, data: Sequence[Instruction], model: Path, cache: Path, report: Report
) -> None:
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
    cut = sum(len(sample.ids) == evaluation.max_length for sample in samples)
    report(
        f"tokens: {sum(len(sample.ids) for sample in samples)} in {len(samples)} documents, {cut} cut short"
    )


def _model_digest(model: Path) -> str:
    """Of the files that are small, and of the weights' size: their content is gigabytes."""
    hashed = hashlib.sha256()
    for name in MODEL_FILES:
        if (model / name).is_file():
            hashed.update(name.encode() + (model / name).read_bytes())
    hashed.update(str((model / "lit_model.pth").stat().st_size).encode())
    return hashed.hexdigest()


__all__ = ["Prepared", "prepare", "require_prepared"]
