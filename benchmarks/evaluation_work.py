"""The arithmetic of an evaluation, and how fast a device does it: for the shares in `evaluation.py`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evaluation_inputs import Inputs


@dataclass(frozen=True)
class Work:
    """
    Attributes:
        parameters: N, of all matrices that multiply: those of the model without its input embedding.
        trained: tokens that went through the model in training, padding not counted.
        scored: the same of the tasks, where choices that differ in their last token only are one row.
        requests: choices that were scored.
    """

    parameters: int
    trained: int
    scored: int
    requests: int

    @property
    def training_flop(self) -> float:
        """Forward 2NT, gradients of the activations 2NT; those of the frozen weights are not computed."""
        return 4.0 * self.parameters * self.trained

    @property
    def scoring_flop(self) -> float:
        return 2.0 * self.parameters * self.scored


def work(inputs: Inputs, lengths: Sequence[int], samples: int) -> Work:
    """Args:
    inputs: what both sides read.
    lengths: of all training samples, in tokens.
    samples: seen in training; their mean length is taken to be that of all.
    """
    from litgpt.tokenizer import Tokenizer

    tokenizer = Tokenizer(inputs.model)
    rows: set[tuple[int, ...]] = set()
    requests = 0
    for path in inputs.tasks.values():
        for line in path.read_text(encoding="utf-8").splitlines():
            document = json.loads(line)
            texts = [f"{document['query']} {choice}" for choice in document["choices"]]
            rows.update(tuple(tokenizer.encode(text).tolist()[:-1]) for text in texts)
            requests += len(texts)
    return Work(
        parameters=parameters(inputs.model),
        trained=round(samples * sum(length - 1 for length in lengths) / len(lengths)),
        scored=sum(map(len, rows)),
        requests=requests,
    )


def parameters(model: Path) -> int:
    """N of a LitGPT checkpoint."""
    import torch
    from litgpt.model import GPT, Config

    with torch.device("meta"):
        named = GPT(Config.from_file(model / "model_config.yaml")).named_parameters()
        return sum(tensor.numel() for name, tensor in named if name != "transformer.wte.weight")


def matrix_rate(device: str, precision: str, threads: int) -> float:
    """FLOP/s of the best of several products of two large square matrices."""
    import torch

    size, repeats = (8192, 20) if device == "cuda" else (2048, 5)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    torch.set_num_threads(threads)
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(repeats):
        begun = time.perf_counter()
        a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return 2.0 * size**3 / best


def outside(seconds: dict[str, float], inside: Iterable[str] = ("train", "validate", "score")) -> float:
    """Share of the total that is not training, validating or scoring."""
    return 1.0 - sum(seconds.get(name, 0.0) for name in inside) / seconds["total"]
