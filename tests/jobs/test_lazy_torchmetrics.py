"""What an evaluation does not need is not imported, and is there for whoever does need it."""

from __future__ import annotations

import subprocess
import sys

from tests.jobs.attempts import ROOT

HEAVY = ("transformers", "sklearn", "scipy.signal", "matplotlib", "torchmetrics.functional")


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_evaluation_imports_none_of_it() -> None:
    assert run(
        "import sys\nfrom jobs.evaluations import litgpt, litgpt_worker\n"
        "from jobs.tasks import language_model, score\nfrom jobs.training import finetune\n"
        f"print([one for one in {HEAVY} if one in sys.modules])"
    ) == str([])


def test_who_needs_it_has_it() -> None:
    program = """
import jobs, litgpt.lora, torch
from torchmetrics import MeanMetric
import torchmetrics, torchmetrics.functional
mean = MeanMetric()
mean.update(torch.tensor([1.0, 3.0]))
accuracy = torchmetrics.functional.accuracy
print(float(mean.compute()), callable(accuracy), isinstance(mean, torchmetrics.Metric))
"""
    assert run(program) == "2.0 True True"
