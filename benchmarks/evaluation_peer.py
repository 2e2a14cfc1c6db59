"""The other side of `evaluation.py`: the two commands of LitGPT, as they were published, and their stages."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.evaluation_inputs import Inputs

# A line of the output that holds one of these ends the stage beside it; what follows the last is "rest".
FINETUNE = (
    ("imports", "'access_token'"),
    ("load", "The longest sequence length"),  # it tokenizes everything to find out
    ("train", "Training Time"),
    ("validate", "Final evaluation"),
)
EVALUATE = (("imports", "'access_token'"), ("load", "100%|"), ("score", "|Version|"))


@dataclass(frozen=True)
class Settings:
    """Of the training, for both sides."""

    steps: int
    batch_size: int
    max_length: int
    precision: str  # fp32, bf16
    rank: int = 8
    alpha: int = 16
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Run:
    """One program that ran.

    Attributes:
        seconds: of its stages, and "total".
        peak_memory_bytes: of the process, or of the GPU if it says that.
    """

    seconds: dict[str, float]
    peak_memory_bytes: int
    output: str


def commands(inputs: Inputs, settings: Settings, folder: Path) -> tuple[list[str], list[str]]:
    """The fine-tuning and the scoring, as argv; writes the tasks as lm-eval's YAML files into `folder`."""
    folder.mkdir(parents=True)
    paths = [str(_task(folder, name, file)) for name, file in inputs.tasks.items()]
    litgpt = str(Path(sys.executable).with_name("litgpt"))
    optimizer = {
        "class_path": "torch.optim.AdamW",
        "init_args": {"lr": settings.learning_rate, "weight_decay": 0.0, "betas": [0.9, 0.95]},
    }
    options: dict[str, Any] = {
        "out_dir": folder / "out",
        "precision": {"fp32": "32-true", "bf16": "bf16-true"}[settings.precision],
        "devices": 1,
        "data": "JSON",
        "data.json_path": inputs.data,
        "train.epochs": 1_000_000,  # the steps decide
        "train.max_steps": settings.steps,
        "train.lr_warmup_steps": max(1, settings.steps // 10),
        "train.max_seq_length": settings.max_length,
        "train.global_batch_size": settings.batch_size,
        "train.micro_batch_size": 1,
        "lora_r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": 0.0,
        "optimizer": json.dumps(optimizer),
    }
    finetune = [litgpt, "finetune_lora", str(inputs.model)]
    finetune += [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    evaluate = [litgpt, "evaluate", str(folder / "out" / "final"), "--out_dir", str(folder / "scores")]
    return finetune, [*evaluate, "--tasks", ",".join(paths), "--batch_size", "1"]


def _task(folder: Path, name: str, file: Path) -> Path:
    metrics = [
        {"metric": one, "aggregation": "mean", "higher_is_better": True} for one in ("acc", "acc_norm")
    ]
    path = folder / f"{name}.yaml"
    content = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(file)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "query",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "target_delimiter": " ",
        "num_fewshot": 0,
        "metric_list": metrics,
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def watched(
    argv: Sequence[str],
    marks: Sequence[tuple[str, str]],
    environment: Mapping[str, str],
    *,
    cwd: Path,
    timeout_s: float,
) -> Run:
    """Run `argv` and time its stages by what it prints.

    Raises:
        RuntimeError: it failed or took too long; the end of its output is in the message.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    text, at, left, resident = "", [0.0], list(marks), 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            resident = max(resident, _resident(process.pid))
            if time.perf_counter() - begun > timeout_s:
                os.killpg(process.pid, signal.SIGKILL)
                break
            if not selector.select(timeout=0.2):
                continue
            if not (chunk := os.read(process.stdout.fileno(), 65536)):
                break
            seen = len(text)
            text += chunk.decode(errors="replace")
            while left and left[0][1] in text[max(0, seen - 100) :]:
                left.pop(0)
                at.append(time.perf_counter() - begun)
    process.wait()
    total = time.perf_counter() - begun
    if process.returncode != 0 or left:
        raise RuntimeError(
            f"{' '.join(argv[:3])} ended with {process.returncode} after {total:.0f} s, before "
            f"{[name for name, _ in left] or 'its end'}:\n{text[-3000:]}"
        )
    names = [name for name, _ in marks]
    seconds = {name: after - before for name, before, after in zip(names, at, at[1:], strict=False)}
    return Run({**seconds, "rest": total - at[-1], "total": total}, _memory(text) or resident, text)


def _resident(pid: int) -> int:
    """Bytes of the process's peak so far; `wait4` would count its parent's before the exec."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    return int(found[1]) * 1024 if (found := re.search(r"VmHWM:\s*(\d+) kB", status)) else 0


def _memory(output: str) -> int:
    """Bytes of the GPU, if the program says so."""
    found = re.search(r"Memory Used\s*:\s*([\d.]+) GB", output)
    return int(float(found[1]) * 1e9) if found else 0


def metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """`task/metric` -> value, of what `litgpt evaluate` writes."""
    return {
        f"{task}/{key.removesuffix(',none')}": float(value)
        for task, values in results["results"].items()
        for key, value in values.items()
        if key in ("acc,none", "acc_norm,none")
    }


def both(runs: Sequence[Run]) -> dict[str, float]:
    """Seconds of each stage of all runs together."""
    names = dict.fromkeys(name for run in runs for name in run.seconds)
    return {name: sum(run.seconds.get(name, 0.0) for run in runs) for name in names}
