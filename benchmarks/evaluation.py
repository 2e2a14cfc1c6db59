"""One evaluation, by this program's job and by LitGPT's two commands, side by side in one run.

    python -m benchmarks.evaluation                            on a CPU: a small pretrained model, real data
    python -m benchmarks.evaluation --model Llama-3.2-1B       on a GPU: random weights, made-up text, the
                                                               published volumes; --scale .05 for a first look
    … --model Llama-3.2-1B --toy --device cpu --scale .001   that path, tried on a CPU

Ours is `python -m jobs.evaluate` over a cache that `prepare` filled: once cold (nothing tokenized, and the
files of model and packages out of the page cache) and `--warm` times, before and after the peer. The peer is
`litgpt finetune_lora` and `litgpt evaluate` with the published flags: micro-batch 1, batch 1. Equal are
model, data, number of samples, tasks, precision and cores: on a CPU ours is one process for each core,
and each of those commands (`--devices 1`) has as many threads. Warm times are medians (of two, the slower).

Goals: on a CPU 3 times as fast, warm. On a GPU 10 times; training at 45 % of the matrix rate measured here,
counting 4NT, scoring at 35 %, counting 2NT; at most 15 % of the time outside the arithmetic.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import evaluation_inputs as inputs_of
from benchmarks import evaluation_peer as peer
from benchmarks.evaluation_inputs import Inputs, Volume
from benchmarks.evaluation_peer import Run, Settings
from benchmarks.evaluation_table import Side, goals, median, rows, shown
from benchmarks.evaluation_work import matrix_rate, outside, work
from jobs.attempt.measured import OFFLINE
from orchestrator.contract import Assignment, LitGPTEvaluation, Outcome, Result

ROOT = Path(__file__).resolve().parents[1]


def ours(
    name: str, evaluation: LitGPTEvaluation, settings: Settings, folder: Path, environment: Mapping[str, str]
) -> Side:
    """The job, as a compute node runs it, in ORCHESTRATOR_PROCESSES of `environment`.

    Raises:
        RuntimeError: it did not end well.
    """
    directory = folder / name
    directory.mkdir()
    configuration = {
        "lora_rank": settings.rank,
        "lora_alpha": settings.alpha,
        "learning_rate": settings.learning_rate,
    }
    assignment = Assignment(
        study="benchmark",
        trial=1,
        attempt=1,
        configuration=configuration,
        seed=1,
        evaluation=evaluation.model_dump(mode="json"),
        metrics=(),
        cache=str(folder / "cache"),
        gpus=0 if environment.get("ORCHESTRATOR_DEVICE") == "cpu" else 1,
    )
    processes = int(environment["ORCHESTRATOR_PROCESSES"])
    (directory / "trial.json").write_text(assignment.model_dump_json(), encoding="utf-8")
    begun = time.time()
    argv = [sys.executable, "-m", "jobs.evaluate", str(directory)]
    run = peer.watched(argv, (), environment, cwd=ROOT, timeout_s=3600)
    result = Result.model_validate_json((directory / "result.json").read_bytes())
    if result.outcome is not Outcome.OK:
        raise RuntimeError(f"ours: {result.failure}: {result.message}")
    print(f"{name}: {run.seconds['total']:.1f} s", flush=True)
    return Side(
        stages(result.seconds, (result.started_at or begun) - begun, run.seconds["total"]),
        (result.peak_memory_bytes or 0) if assignment.gpus or processes > 1 else run.peak_memory_bytes,
        {key: metric.value for key, metric in result.metrics.items()},
    )


def stages(found: Mapping[str, float], before: float, total: float) -> dict[str, float]:
    """Seconds of our stages under the common names.

    Args:
        found: the result's own.
        before: until the job's first line ran: the interpreter's start.
        total: of the process.
    """
    seconds = {**found, "start": before + found.get("start", 0.0)}
    return {**seconds, "rest": total - sum(seconds.values()), "total": total}


def theirs(
    inputs: Inputs, settings: Settings, folder: Path, environment: Mapping[str, str], timeout_s: float
) -> Side:
    """LitGPT's two commands, one after the other.

    Raises:
        RuntimeError: one failed.
    """
    finetune, evaluate = peer.commands(inputs, settings, folder)
    runs: list[Run] = []
    for argv, marks in ((finetune, peer.FINETUNE), (evaluate, peer.EVALUATE)):
        runs.append(peer.watched(argv, marks, environment, cwd=folder, timeout_s=timeout_s))
        print(
            f"{' '.join(Path(part).name for part in argv[:2])}: {runs[-1].seconds['total']:.1f} s", flush=True
        )
    results = json.loads((folder / "scores" / "results.json").read_text(encoding="utf-8"))
    return Side(peer.both(runs), max(run.peak_memory_bytes for run in runs), peer.metrics(results))


def make_cold(cache: Path, model: Path) -> None:
    """Tokens go; so does what the kernel keeps of the files of packages and model, where it obeys."""
    inputs_of.empty(cache / "tokens")
    packages = Path(json.__file__).parents[1], Path(platform.__file__).parent, *map(Path, sys.path)
    roots = {path for path in (*packages, model, cache) if path.is_dir() and path not in (ROOT, Path())}
    for root in roots:
        for parent, _, names in os.walk(root):
            for name in names:
                try:
                    descriptor = os.open(Path(parent) / name, os.O_RDONLY)
                except OSError:
                    continue
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="shared", help="'shared', or a Llama that LitGPT knows by name")
    parser.add_argument("--toy", action="store_true", help="of that model only the kind, at a toy's size")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the volumes")
    parser.add_argument("--batch", type=int, default=16, help="global batch size")
    parser.add_argument("--max-length", type=int, help="tokens: default 192 for 'shared', else 512")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--processes", type=int, help="of ours; default on a CPU: one for each thread")
    parser.add_argument("--warm", type=int, default=3, help="how often ours runs warm")
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--timeout", type=float, default=4 * 3600, help="seconds for a command of the peer")
    parser.add_argument("--json", type=Path, default=Path("evaluation.json"))
    return parser.parse_args()


def main() -> None:
    options = _options()
    import torch

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    environment = {**os.environ, **OFFLINE, "OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(ROOT)}
    environment |= {"CUDA_VISIBLE_DEVICES": "0"} if device == "cuda" else _without_gpu()
    with tempfile.TemporaryDirectory(prefix="evaluation-") as made:
        folder = Path(made)
        environment["HF_HOME"] = str(folder / "huggingface")
        report = measure(options, device, environment, folder)
    options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(f"written: {options.json}")


def _without_gpu() -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": "", "ORCHESTRATOR_DEVICE": "cpu"}


def measure(
    options: argparse.Namespace, device: str, environment: dict[str, str], folder: Path
) -> dict[str, Any]:
    """All runs, and what comes of them; prints the table."""
    from jobs.prepare.prepare import prepare

    inputs, volume = _inputs(options, device, folder)
    settings = Settings(
        steps=volume.samples // options.batch,
        batch_size=options.batch,
        max_length=options.max_length or (192 if options.model == "shared" else 512),
        precision="fp32" if device == "cpu" else "bf16",
    )
    evaluation = LitGPTEvaluation.model_validate(
        {
            "kind": "litgpt",
            "model": str(inputs.model),
            "data": str(inputs.data / "train.json"),
            "val_data": str(inputs.data / "val.json"),
            "steps": settings.steps,
            "batch_size": settings.batch_size,
            "max_length": settings.max_length,
            "precision": settings.precision,
            "tasks": [{"name": name, "file": str(path)} for name, path in inputs.tasks.items()],
        }
    )
    prepared = prepare(evaluation, folder / "cache", print)
    lengths = _lengths(evaluation, Path(prepared.train.path), inputs.model, folder / "cache")
    done = work(inputs, lengths, volume.samples)
    rate = matrix_rate(device, settings.precision, options.threads)
    print(f"{volume}\n{done}\nmatrix rate {rate / 1e12:.3f} TFLOP/s, load {os.getloadavg()}", flush=True)
    processes = options.processes or (options.threads if device == "cpu" else 1)
    own = {
        **environment,
        "ORCHESTRATOR_PROCESSES": str(processes),
        "OMP_NUM_THREADS": str(max(1, options.threads // processes)),
    }
    make_cold(folder / "cache", inputs.model)
    sides = {"cold": ours("cold", evaluation, settings, folder, own)}
    before = options.warm - options.warm // 2
    warm = [ours(f"warm{n}", evaluation, settings, folder, own) for n in range(before)]
    litgpt = None
    if not options.without_peer:
        litgpt = theirs(inputs, settings, folder / "peer", environment, options.timeout)
    warm += [ours(f"warm{n}", evaluation, settings, folder, own) for n in range(before, options.warm)]
    sides["warm"] = median(warm)
    if litgpt is not None:
        sides["litgpt"] = litgpt
    load = os.getloadavg()
    print(shown(rows(sides, done, rate)))
    found = goals(sides, done, rate, device)
    for name, (value, goal) in found.items():
        print(f"{name}: {value:.3g} (goal {goal:g})")
    print(f"load {load}, {options.threads} threads, ours in {processes} processes, {device}")
    return {
        "device": torch_name(device),
        "threads": options.threads,
        "processes": processes,
        "load": load,
        "model": options.model,
        "settings": asdict(settings),
        "volume": asdict(volume),
        "work": asdict(done) | {"training_flop": done.training_flop, "scoring_flop": done.scoring_flop},
        "matrix_rate": rate,
        "sides": {name: asdict(side) | {"outside": outside(side.seconds)} for name, side in sides.items()},
        "warm_totals": [side.seconds["total"] for side in warm],
        "goals": {name: {"value": value, "goal": goal} for name, (value, goal) in found.items()},
    }


def torch_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(0) if device == "cuda" else f"cpu, {platform.machine()}"


def _inputs(options: argparse.Namespace, device: str, folder: Path) -> tuple[Inputs, Volume]:
    whole = inputs_of.SMALL if options.model == "shared" else inputs_of.PUBLISHED
    volume = whole.scaled(options.scale, options.batch)
    if options.model == "shared":
        return inputs_of.shared(folder / "inputs", volume), volume
    dtype = "float32" if device == "cpu" else "bfloat16"
    shape = inputs_of.TOY if options.toy else {}
    return inputs_of.made_up(folder / "inputs", volume, options.model, dtype, shape), volume


def _lengths(evaluation: LitGPTEvaluation, train: Path, model: Path, cache: Path) -> list[int]:
    from jobs.data.tokens import tokenized

    samples = tokenized(
        [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()],
        model,
        prompt_style=evaluation.prompt_style,
        max_length=evaluation.max_length,
        mask_prompt=evaluation.mask_prompt,
        cache=cache,
    )
    return [len(sample.ids) for sample in samples]


if __name__ == "__main__":
    main()
