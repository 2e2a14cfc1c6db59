"""Where a study's instructions come from: files, modules of LitGPT, mixtures of them, the demo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jobs.data.instructions import Instruction, read_instructions
from jobs.data.mixture import line, mixed, split
from jobs.data.modules import read_module
from jobs.prepare import demo
from orchestrator.contract import LitGPTEvaluation
from orchestrator.contract.evaluation import DEMO, MODULE
from orchestrator.errors import InputError

Report = Callable[[str], None]


def gather(
    evaluation: LitGPTEvaluation, cache: Path, made: demo.Demo | None, report: Report
) -> tuple[list[Instruction], list[Instruction], list[Path]]:
    """The training and the held-out instructions, in the order of use; and the user's files they came from.

    Args:
        evaluation: names the sources.
        cache: the shared cache, for what is fetched.
        made: the demo, if a source is the demo.
        report: called with lines of text about what was found.

    Raises:
        InputError: every problem of every source.
    """
    names = [source.source for source in evaluation.sources]
    weights = [source.weight for source in evaluation.sources]
    wanted = [("data", name) for name in names]
    if evaluation.val_data is not None:
        wanted.append(("val_data", evaluation.val_data))
    found, problems = list[list[Instruction]](), list[str]()
    for key, name in wanted:
        try:
            found.append(_read(key, name, cache, made))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    parts, val = found[: len(names)], []
    if evaluation.val_data is not None:
        val = found[-1]
    elif names == [DEMO] and made is not None:
        val = read_instructions(made.val)
    if val:
        train = mixed([line(part) for part in parts], weights)
        known = {tuple(one.values()) for one in train}
        if twice := sum(tuple(one.values()) in known for one in val):
            report(f"data: {twice} of the held-out instructions are learnt from as well")
    else:
        fraction = evaluation.val_fraction
        halves = [_split(name, part, fraction) for name, part in zip(names, parts, strict=True)]
        train, val = (mixed([half[side] for half in halves], weights) for side in (0, 1))
    if not train or not val:
        raise InputError("data: a source is too small for its weight: nothing is left: give more of it")
    unused = f" of {sum(map(len, parts))} in {len(names)} sources" if len(names) > 1 else ""
    report(f"data: {len(train)} instructions to train on, {len(val)} held out{unused}")
    return train, line(val), [Path(name) for _, name in wanted if Path(name).is_absolute()]


def _read(key: str, name: str, cache: Path, made: demo.Demo | None) -> list[Instruction]:
    """The instructions of one source, which the study names under `key`.

    Raises:
        InputError: there is no such source, or it cannot be read.
    """
    if name == DEMO:
        assert made is not None
        return read_instructions(made.train)
    if name.startswith(MODULE):
        return read_module(name.removeprefix(MODULE), cache)
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"{key}: {name}: no such file: give JSON, JSONL or Parquet with instructions, or {MODULE}Alpaca"
        )
    return read_instructions(path)


def _split(
    name: str, instructions: list[Instruction], val_fraction: float
) -> tuple[list[Instruction], list[Instruction]]:
    train, val = split(instructions, val_fraction)
    if not train:
        raise InputError(f"{name}: holds one instruction: give more, or val_data")
    return train, val
