"""What `orchestrator prepare` left in the shared cache for a study: the manifest, and checks of it.

    cache/prepared/<key>.json   the manifest, written last: if it is there, everything it names is there too
    cache/data/<sha256>.jsonl   instructions and task documents, copied: editing originals changes no study
    cache/models/, cache/demo/  models fetched and made; a local model stays where it is
    cache/tokens/               tokenized instructions
    cache/huggingface/, cache/matplotlib/   files of libraries

Imports neither PyTorch nor LitGPT: `launch` asks for this at every start.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.contract import LitGPTEvaluation, publish
from orchestrator.contract.evaluation import DEMO as DEMO  # noqa: PLC0414 - others import it from here
from orchestrator.contract.evaluation import StockTask
from orchestrator.contract.files import dumps
from orchestrator.contract.strict import Record
from orchestrator.errors import InputError

_LAYOUT = 3  # of the manifest; a new one makes every study be prepared again
_REMEDY = "run `orchestrator prepare STUDY` on the login node"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "generation_config.json")
MODEL_FILES = ("model_config.yaml", *TOKENIZER_FILES, "config.json")


class FileMark(Record):
    """The size and time of a file: enough to tell that it was changed, without reading gigabytes."""

    path: str
    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileMark:
        """The mark of the file `path` as it is now.

        Raises:
            OSError: there is no such file.
        """
        status = path.stat()
        return cls(path=str(path), bytes=status.st_size, mtime_ns=status.st_mtime_ns)

    def changed(self) -> str:
        """How the file differs from the mark; empty if it does not."""
        try:
            status = Path(self.path).stat()
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        same = (status.st_size, status.st_mtime_ns) == (self.bytes, self.mtime_ns)
        return "" if same else f"{self.path} is not the file that was prepared"


class Frozen(Record):
    """A file of the cache with a number of documents, named by the SHA-256 of its content."""

    path: str
    sha256: str
    documents: int


class PreparedTask(Record):
    """A local task's documents, or the folders that define a stock task (in lm-eval) or a task of the user's.

    Attributes:
        data: files of the shared cache that hold the data sets of a stock task.
        metrics: what it was seen to give, as "task/metric"; empty if that cannot be known beforehand.
    """

    name: str
    file: Frozen | None = None
    folders: tuple[str, ...] = ()
    data: tuple[FileMark, ...] = ()
    metrics: tuple[str, ...] = ()


class Prepared(Record):
    """The manifest.

    Attributes:
        digest: of all content: two studies, or two trials, with equal digests had equal inputs.
        model_files: what the model's directory held; the weights by size and time only.
        sources: the user's own data files; they may change or go, what is frozen stays.
    """

    layout: int = _LAYOUT
    digest: str
    model: str
    model_files: tuple[FileMark, ...]
    sources: tuple[FileMark, ...]
    train: Frozen
    val: Frozen
    tasks: tuple[PreparedTask, ...]


def manifest_path(evaluation: LitGPTEvaluation, cache: Path) -> Path:
    """Where the manifest is; one for all evaluations that read the same things."""
    tasks: list[Any] = [
        task.model_dump(exclude={"limit", "num_fewshot"}, exclude_defaults=True) for task in evaluation.tasks
    ]
    data = [source.model_dump() for source in evaluation.sources]
    what = [_LAYOUT, evaluation.model, data, evaluation.val_data, evaluation.val_fraction, tasks]
    what += [evaluation.prompt_style, evaluation.max_length, evaluation.mask_prompt]  # they decide the tokens
    return cache / "prepared" / f"{digest(what)[:32]}.json"


def require_prepared(evaluation: LitGPTEvaluation, cache: Path, *, sources: bool = True) -> Prepared:
    """What was prepared for `evaluation`.

    Args:
        evaluation: the section, its paths absolute.
        cache: the shared cache.
        sources: also demand the user's own files as they were. A job does not: it reads frozen copies.

    Raises:
        InputError: something is missing or changed, with the command that mends it.
    """
    path = manifest_path(evaluation, cache)
    try:
        prepared = Prepared.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"evaluation: model, data and tasks are not prepared in {cache}: {_REMEDY}"
        ) from error
    except (ValidationError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}): remove it and {_REMEDY}") from error
    marks = prepared.model_files + (prepared.sources if sources else ())
    marks += tuple(mark for task in prepared.tasks for mark in task.data)
    problems = [f"{changed}: {_REMEDY}" for mark in marks if (changed := mark.changed())]
    frozen = [prepared.train, prepared.val, *(task.file for task in prepared.tasks if task.file)]
    problems += [
        f"{one.path}: is gone from the cache: {_REMEDY}" for one in frozen if not Path(one.path).is_file()
    ]
    if problems:
        raise InputError(problems)
    return prepared


def freeze(documents: Iterable[Any], cache: Path) -> Frozen:
    """Write `documents` into the cache as JSON lines, in a file named by the SHA-256 of its content."""
    lines = [dumps(document) for document in documents]
    text = "\n".join(lines) + "\n"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    path = cache / "data" / f"{sha256}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    publish(path, text)
    return Frozen(path=str(path), sha256=sha256, documents=len(lines))


def thaw(frozen: Frozen) -> list[Any]:
    """The documents of a frozen file.

    Raises:
        InputError: its content is not what its name says.
    """
    content = Path(frozen.path).read_bytes()
    if hashlib.sha256(content).hexdigest() != frozen.sha256:
        raise InputError(f"{frozen.path}: is damaged: remove it and {_REMEDY}")
    return [json.loads(line) for line in content.splitlines()]


def digest(value: Any) -> str:
    """The SHA-256 of `value` as JSON, in hexadecimal."""
    return hashlib.sha256(dumps(value).encode()).hexdigest()


def library_files(cache: Path) -> dict[str, str]:
    """Variables that make libraries write to `cache`; the Hugging Face token stays in the user's home."""
    home = cache / "huggingface"
    return {
        "HF_DATASETS_CACHE": str(home / "datasets"),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_MODULES_CACHE": str(home / "modules"),
        "MPLCONFIGDIR": str(cache / "matplotlib"),  # LitGPT imports Lightning, which imports matplotlib
    }


def size_text(count: float) -> str:
    """`count` bytes as text for people, such as "3.2 GB"."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def stock_tasks(evaluation: LitGPTEvaluation) -> list[StockTask]:
    """The tasks of `evaluation` that lm-eval ships."""
    return [task for task in evaluation.tasks if isinstance(task, StockTask)]
