"""Tasks in the form that lm-eval runs: from a user's JSONL or YAML file, or shipped with lm-eval."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from jobs.data.instructions import json_lines
from jobs.tasks import code_eval
from orchestrator.contract.evaluation import LocalTask, StockTask, TaskFile
from orchestrator.errors import InputError

_FEWSHOT_SEED = 1234  # lm-eval's default
_SUBSET_SEED = 1729  # the same for every trial of every study
_PROBLEMS_SHOWN = 5

Document = dict[str, Any]


def read_documents(task: LocalTask, path: Path) -> list[Document]:
    """The documents in the file `path`, at most `task.limit`, each with the keys query, choices and label.

    Raises:
        InputError: every malformed item (the first few of many), with its number; or there is no item.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text ({error}): convert it") from error
    documents, problems = [], []
    for number, entry in enumerate(json_lines(path, text), start=1):
        if wrong := _wrong_with(entry, task):
            problems.append(f"{path}: item {number}: {wrong}")
            continue
        documents.append(
            {"query": entry[task.query], "choices": entry[task.choices], "label": entry[task.label]}
        )
    if not documents and not problems:
        problems.append(f"{path}: holds no item: give one JSON object a line")
    if problems:
        more = len(problems) - _PROBLEMS_SHOWN
        raise InputError(
            problems[:_PROBLEMS_SHOWN] + ([f"{path}: and {more} more such items"] if more > 0 else [])
        )
    return documents[: task.limit]


def _wrong_with(entry: Any, task: LocalTask) -> str:
    """What is wrong with an item of the file; "" if nothing is."""
    if not isinstance(entry, dict):
        return f"is no object but {type(entry).__name__}"
    if absent := [key for key in (task.query, task.choices, task.label) if key not in entry]:
        return (
            f"has no {', '.join(map(repr, absent))}: it has {sorted(entry)}: name them in the task's section"
        )
    query, choices, label = entry[task.query], entry[task.choices], entry[task.label]
    if not isinstance(query, str):
        return f"{task.query!r} is no text"
    whole = isinstance(choices, list) and all(isinstance(choice, str) and choice for choice in choices)
    if not whole or len(choices) < 2:
        return f"{task.choices!r} is no list of two texts or more"
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(choices):
        return f"{task.label!r} is {label!r}, not the index of a choice in 0..{len(choices) - 1}"
    return ""


@dataclass(frozen=True)
class Suite:
    """Tasks that lm-eval runs in one go.

    Attributes:
        loaded: what `TaskManager.load` gave.
        limit: documents of each task at most; None: all.
        fidelity: the share of these that is scored.
    """

    loaded: dict[str, Any]
    limit: int | None = None
    fidelity: float = 1.0

    def chosen(self) -> dict[str, list[int]]:
        """The documents that are scored, as indices, by the name of their task."""
        counts = {name: len(task.eval_docs) for name, task in self.loaded["tasks"].items()}
        return {name: subset(min(n, self.limit or n), self.fidelity) for name, n in counts.items()}


def local_suite(tasks: Sequence[LocalTask], documents: Sequence[Sequence[Document]]) -> Suite:
    """`tasks` over documents in memory: nothing is read, fetched or cached."""
    from lm_eval.tasks import TaskManager

    configurations = [_configuration(task, list(docs)) for task, docs in zip(tasks, documents, strict=True)]
    with _quiet("lm_eval"):  # it warns of every task whose data set is given by a function
        return Suite(TaskManager(include_defaults=False).load(configurations))


def _configuration(task: LocalTask, documents: list[Document]) -> dict[str, Any]:
    """The configuration of a local task for lm-eval."""

    def data_set(**_: Any) -> dict[str, Any]:
        import datasets

        return {"test": datasets.Dataset.from_list(documents)}

    metrics = [
        {"metric": one, "aggregation": "mean", "higher_is_better": True} for one in ("acc", "acc_norm")
    ]
    return {
        "task": task.name,
        "custom_dataset": data_set,
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "query",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "target_delimiter": task.separator,
        "num_fewshot": 0,
        "metric_list": metrics,
    }


def subset(count: int, fidelity: float) -> list[int]:
    """The indices, of `count`, of the documents that are scored; a smaller share is part of a larger one."""
    order = np.random.default_rng(_SUBSET_SEED).permutation(count)
    return sorted(int(i) for i in order[: max(1, math.ceil(fidelity * count))])


def stock_suite(task: StockTask | TaskFile, folders: Sequence[str]) -> Suite:
    """The task, or group of tasks, that lm-eval ships under a name, or that a user's YAML file defines.

    Args:
        task: its name, and what to change of it.
        folders: where its definition is, as `stock_folders` found; empty: look everywhere, which takes 10 s.

    Raises:
        InputError: there is no such task; or it runs programs that the model writes, and cannot run them in
            the sandbox, or the study does not ask for that with `execute_code`.
    """
    from lm_eval import tasks as shipped

    root = Path(shipped.__file__).parent
    index = shipped.TaskManager(include_defaults=not folders, include_path=[root / one for one in folders])
    if task.name not in index.all_tasks:
        raise _unknown(task.name, index)
    with code_eval.in_place():
        loaded = index.load([task.name])
    for name, one in loaded["tasks"].items():
        if one.get_config("unsafe_code"):
            _require_consent(task, name, folders)
        if task.num_fewshot is not None and one.get_config("num_fewshot") != 0:
            one.set_config(key="num_fewshot", value=task.num_fewshot)
        elif one.get_config("num_fewshot") is None:
            one.set_config(key="num_fewshot", value=0)
        one.set_fewshot_seed(seed=_FEWSHOT_SEED)
    return Suite(loaded, task.limit)


def _require_consent(task: StockTask | TaskFile, name: str, folders: Sequence[str]) -> None:
    """Check that a task which runs programs may do so.

    Raises:
        InputError: they cannot be run in the sandbox, or the study does not ask for that.
    """
    what = f"tasks: {task.name!r}: {name} runs programs that the model writes"
    if not set(folders) <= set(code_eval.FOLDERS):
        raise InputError(
            f"{what}, and not so that they can be walled in: use another task "
            f"(those of {', '.join(code_eval.FOLDERS)} can), "
            "or a `command` evaluation in a sandbox of your own"
        )
    if not (isinstance(task, StockTask) and task.execute_code):
        raise InputError(f"{what}: add execute_code = true to it, and they are run in a sandbox on the hosts")


def stock_folders(name: str) -> list[str]:
    """The folders that define the task `name` and all it consists of, relative to lm-eval's folder of tasks.

    Raises:
        InputError: there is no such task.
    """
    from lm_eval import tasks as shipped

    root = Path(shipped.__file__).parent
    everything = _shipped()
    index = everything.task_index
    if name not in index:
        raise _unknown(name, everything)
    folders, wanted, seen = set[str](), [name], set[str]()
    while wanted:
        one = wanted.pop()
        if one in seen or (entry := index.get(one)) is None:
            continue
        seen.add(one)
        if entry.yaml_path is not None:
            folders.add(str(entry.yaml_path.parent.relative_to(root)))
        parts = (entry.cfg or {}).get("task", [])
        wanted.extend(
            part if isinstance(part, str) else str(part.get("task", part.get("group", "")))
            for part in (parts if isinstance(parts, list) else [])
        )
        wanted.extend(other for other, its in index.items() if one in its.tags)  # a tag stands for its tasks
    return sorted(folders)


@cache
def _shipped() -> Any:
    """The index of all tasks that lm-eval ships, which takes seconds to make."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _unknown(name: str, index: Any) -> InputError:
    near = ", ".join(index.match_tasks([f"*{name}*"])[:8] or get_close_matches(name, index.all_tasks, n=4))
    known = f"did you mean one of {near}" if near else "`lm-eval ls tasks` lists what there is"
    return InputError(f"tasks: {name!r}: lm-eval ships no task of this name: {known}")


class _quiet:  # noqa: N801 - used like a function, in a `with` statement
    """Inside, the logger `name` lets only errors through."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
