"""Instructions of the data modules that LitGPT ships: their entries, fetched once on the login node."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.data.instructions import Instruction, parsed, read_instructions
from orchestrator.contract.evaluation import MODULE
from orchestrator.errors import InputError, near

# Modules that are files somewhere -> how their columns are named here.
_FILES = {
    "Alpaca": {},
    "AlpacaGPT4": {},
    "LongForm": {"input": "instruction"},
    "FLAN": {"inputs": "instruction", "targets": "output"},
}
_BY_DATASETS = ("Alpaca2k", "Deita", "LIMA")  # what the `datasets` library fetches, and checks
_OF_FLAN = "_10templates"  # at the end of each part's name
_TIMEOUT_S = 60.0


def read_module(name: str, cache: Path) -> list[Instruction]:
    """What the module `name` of `litgpt.data` trains on and tests with, together.

    Args:
        name: of the module; for FLAN with the parts that are wanted, as in "FLAN/cola,copa".
        cache: the shared cache.

    Raises:
        InputError: there is no such module of instructions, or it cannot be fetched.
    """
    kind, _, parts = name.partition("/")
    if kind not in (*_FILES, *_BY_DATASETS) or (parts and kind != "FLAN"):
        raise InputError(
            f"data: litgpt:{name}: is no module to be had here: give litgpt: and one of "
            f"{', '.join((*_FILES, *_BY_DATASETS))}, or a file"
        )
    from litgpt import data as modules

    module = getattr(modules, kind)()
    try:
        if kind in _FILES:
            found = list[Instruction]()
            for file, url in _addresses(module, parts).items():
                found += _file(url, cache / "data-modules" / file, _FILES[kind])
            return found
        module.setup()
    except InputError:
        raise
    except Exception as error:
        # The libraries raise a dozen classes for: offline, no such name, gated, interrupted.
        text = " ".join(str(error).split())[:300]
        raise InputError(
            f"data: litgpt:{name}: could not be fetched: {type(error).__name__}: {text}: check the network "
            "of this host, or give the data as a file"
        ) from error
    return parsed([*module.train_dataset.data, *module.test_dataset.data], f"litgpt:{name}")


def _addresses(module: Any, parts: str) -> dict[str, str]:
    """The addresses of a module's files, by their names in the cache.

    Raises:
        InputError: for FLAN no part is named, or one that does not exist.
    """
    from litgpt.data import FLAN, LongForm, longform

    if isinstance(module, LongForm):
        base = longform._URL  # noqa: SLF001 - LitGPT has it nowhere else
        return {f"longform-{split}.json": f"{base}/{split}.json" for split in ("train", "val")}
    if not isinstance(module, FLAN):
        return {module.file_name: module.file_url}
    known = {one.removesuffix(_OF_FLAN): one for one in sorted(module.subsets or ())}
    wanted = parts.split(",") if parts else []
    what = f"data: {MODULE}FLAN"
    problems = [f"{what}/{parts}: no part {one!r}{near(one, known)}" for one in wanted if one not in known]
    if not wanted:
        problems = [f"{what}: is {len(known)} data sets: name those you want: {MODULE}FLAN/cola,copa"]
    if problems:
        raise InputError(problems)
    return {
        f"flan-{one}-{split}.jsonl": f"{module.url}/{split}/{known[one]}_{split}.jsonl"
        for one in wanted
        for split in ("train", "test")
    }


def _file(url: str, path: Path, renamed: Mapping[str, str]) -> list[Instruction]:
    """The instructions in the file at `url`, which is fetched to `path` unless it is there.

    It gets that name only if it came whole and holds instructions.

    Raises:
        InputError: it does not hold instructions.
    """
    import requests

    if path.is_file():
        return read_instructions(path, renamed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as folder:
        fetched = Path(folder) / path.name
        with requests.get(url, stream=True, timeout=_TIMEOUT_S) as response, fetched.open("wb") as file:
            response.raise_for_status()
            for chunk in response.iter_content(2**20):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        try:
            instructions = read_instructions(fetched, renamed)
        except InputError as error:
            raise InputError([one.replace(str(fetched), url) for one in error.problems]) from error
        fetched.replace(path)
    return instructions
