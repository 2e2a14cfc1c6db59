"""Log-likelihoods of our model in memory beside lm-eval's own Hugging Face model, on equal weights.

    python -m benchmarks.parity [DOCUMENTS]

fp32, on the CPU, over the shared model and the first 500 documents of each shared task file; MMLU with its
answers as texts, and as letters, which share a row; GSM8K's answers as long texts. To hold: no difference
above 1e-3, and equal metrics.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.evaluation_inputs import SHARED, as_mmlu
from jobs.attempt.measured import OFFLINE
from jobs.tasks.suites import Document, local_suite
from orchestrator.contract import Metric
from orchestrator.contract.evaluation import LocalTask

TASKS = ("hellaswag", "piqa", "pickresp", "mmlu_texts", "mmlu_letters", "gsm8k")
_FILES = {
    "hellaswag": "hellaswag_val",
    "piqa": "piqa_valid",
    "pickresp": "pickresp_val",
    "gsm8k": "gsm8k_test",
}
WORST = 1e-3


@dataclass(frozen=True)
class Compared:
    """
    Attributes:
        worst: the largest difference of two log-likelihoods.
        greedy: how many continuations are what greedy decoding gives for one of them only.
        ours, theirs: `task/metric` -> value, standard error, number.
        seconds: ours, theirs.
    """

    requests: int
    worst: float
    greedy: int
    ours: dict[str, Metric]
    theirs: dict[str, Metric]
    seconds: tuple[float, float]


def documents(name: str, count: int, data: Path = SHARED) -> list[Document]:
    """The first `count` documents of one of TASKS."""
    file = data / "tasks" / f"{_FILES.get(name, 'mmlu_test')}.jsonl"
    items = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[:count]]
    if name == "mmlu_letters":
        return [as_mmlu(item) for item in items]
    if name == "piqa":
        labels = (data / "tasks" / "valid-labels.lst").read_text(encoding="utf-8").split()
        items = [
            {
                "query": f"Question: {one['goal']}\nAnswer:",
                "choices": [one["sol1"], one["sol2"]],
                "label": label,
            }
            for one, label in zip(items, map(int, labels[: len(items)]), strict=True)
        ]
    if name == "gsm8k":  # the item's own way to its answer, or another's: long continuations
        ways = [one["answer"] for one in items]
        items = [
            {"query": f"Question: {one['question']}\nAnswer:", "choices": [way, other], "label": 0}
            for one, way, other in zip(items, ways, ways[1:] + ways[:1], strict=True)
        ]
    if name == "mmlu_texts":
        items = [
            {"query": one["question"], "choices": one["choices"], "label": one["answer"]} for one in items
        ]
    return [{key: item[key] for key in ("query", "choices", "label")} for item in items]


def ours(checkpoint: Path) -> Any:
    """Our model, as the job scores it."""
    import torch
    from litgpt.tokenizer import Tokenizer

    from jobs.model import lora as model
    from jobs.tasks.language_model import LitGPTModel

    place = torch.device("cpu")
    net = model.load(checkpoint, None, (), precision="fp32", seed=0, device=place).eval()
    return LitGPTModel(net, Tokenizer(checkpoint), place, lambda _: None)


def theirs(checkpoint: Path) -> Any:
    """lm-eval's, over the same weights under Hugging Face's names."""
    from litgpt.lora import Config
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from jobs.export import hugging_face
    from jobs.model import lora as model

    config = Config.from_file(checkpoint / "model_config.yaml")
    state = hugging_face.converted(config, model.weights(checkpoint), checkpoint)
    models: Any = AutoModelForCausalLM
    net = models.from_config(AutoConfig.from_pretrained(checkpoint)).float().eval()
    net.load_state_dict(state)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    return HFLM(pretrained=net, tokenizer=tokenizer, device="cpu", batch_size=16)


def compare(one: Any, other: Any, name: str, items: Sequence[Document]) -> Compared:
    """Both models on the same documents."""
    found = [_scored(model, name, items) for model in (one, other)]
    (first, second) = (scores for _, scores, _ in found)
    assert len(first) == len(second) > 0
    pairs = list(zip(first, second, strict=True))
    return Compared(
        requests=len(first),
        worst=max(abs(a[0] - b[0]) for a, b in pairs),
        greedy=sum(a[1] != b[1] for a, b in pairs),
        ours=found[0][0],
        theirs=found[1][0],
        seconds=(found[0][2], found[1][2]),
    )


def _scored(
    model: Any, name: str, items: Sequence[Document]
) -> tuple[dict[str, Metric], list[tuple[float, bool]], float]:
    """Metrics, the scores of all requests in the tasks' order, seconds."""
    from jobs.tasks.score import task_scores

    scores: list[tuple[float, bool]] = []
    original = model.loglikelihood

    def heard(requests: Any, **named: Any) -> Any:
        answer = original(requests, **named)
        scores.extend((float(value), bool(greedy)) for value, greedy in answer)
        return answer

    suite = local_suite([LocalTask(name=name, file="")], [list(items)])
    model.loglikelihood = heard
    begun = time.perf_counter()
    try:
        metrics = task_scores(model, [suite])
    finally:
        del model.loglikelihood
    return metrics, scores, time.perf_counter() - begun


def main() -> int:
    os.environ.update(OFFLINE)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    sides = ours(SHARED / "base"), theirs(SHARED / "base")
    good = True
    print(f"{'task':14}{'documents':>10}{'requests':>10}{'worst |Δ|':>12}{'greedy ≠':>10}  metrics")
    for name in TASKS:
        items = documents(name, count)
        found = compare(*sides, name, items)
        same = found.ours == found.theirs
        good &= same and found.worst <= WORST
        told = ", ".join(
            f"{key.partition('/')[2]} {one.value:.4f} ± {one.stderr or 0:.4f}"
            for key, one in found.ours.items()
        )
        print(
            f"{name:14}{len(items):>10}{found.requests:>10}{found.worst:>12.1e}{found.greedy:>10}  "
            f"{told}: {'identical' if same else f'NOT identical: {found.theirs}'}; seconds ours "
            f"{found.seconds[0]:.1f}, theirs {found.seconds[1]:.1f}",
            flush=True,
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
