"""The arithmetic and the parsing of benchmarks/evaluation.py; that it runs is seen by running it."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import evaluation, evaluation_inputs, evaluation_peer
from benchmarks.evaluation_inputs import Inputs, Text, Volume
from benchmarks.evaluation_peer import Settings, both, commands, metrics, watched
from benchmarks.evaluation_table import Side, goals, median, rows, shown
from benchmarks.evaluation_work import Work, matrix_rate, outside, work

SETTINGS = Settings(steps=30, batch_size=16, max_length=128, precision="bf16")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("toy")
    volume = Volume(samples=8, held_out=3, hellaswag=5, mmlu=6)
    return evaluation_inputs.made_up(folder, volume, "Llama-3.2-1B", "float32", evaluation_inputs.TOY)


def run(script: str, marks: Any, tmp_path: Path, timeout_s: float = 60) -> evaluation_peer.Run:
    return watched([sys.executable, "-c", script], marks, os.environ, cwd=tmp_path, timeout_s=timeout_s)


def test_stages_end_at_what_a_program_prints(tmp_path: Path) -> None:
    script = (
        "import time; print('one'); time.sleep(.3);"
        "print('bar 100%|', end='\\r', flush=True); time.sleep(.1);"
        "print('Memory Used   :  1.50 GB')"
    )
    found = run(script, (("imports", "one"), ("load", "100%|")), tmp_path)
    assert list(found.seconds) == ["imports", "load", "rest", "total"]
    assert found.seconds["load"] == pytest.approx(0.3, abs=0.15)
    assert sum(found.seconds.values()) == pytest.approx(2 * found.seconds["total"])
    assert found.peak_memory_bytes == 1_500_000_000


def test_a_program_without_a_gpu_has_a_resident_peak(tmp_path: Path) -> None:
    found = run("import time; x = bytearray(b'x') * (100 << 20); time.sleep(.6)", (), tmp_path)
    assert 100 * 2**20 < found.peak_memory_bytes < 130 * 2**20


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("raise SystemExit('broken')", "ended with 1 .*before \\['load'\\]:\\s*broken"),
        ("print('something else')", "ended with 0 .*before \\['load'\\]"),
        ("import time; time.sleep(60)", "ended with -9 after [12] s"),
    ],
)
def test_a_program_that_fails_is_no_measurement(tmp_path: Path, script: str, told: str) -> None:
    with pytest.raises(RuntimeError, match=told):
        run(script, (("load", "done"),), tmp_path, timeout_s=1)


def test_the_peer_gets_the_published_flags(toy: Inputs, tmp_path: Path) -> None:
    finetune, evaluate = commands(toy, SETTINGS, tmp_path / "peer")
    given = dict(zip(finetune[3::2], finetune[4::2], strict=True))
    assert given["--train.micro_batch_size"] == "1"
    assert given["--train.global_batch_size"] == "16"
    assert given["--train.max_steps"] == "30"
    assert given["--precision"] == "bf16-true"
    assert json.loads(given["--optimizer"])["init_args"]["lr"] == SETTINGS.learning_rate
    assert not (tmp_path / "peer" / "out").exists()  # a reused one keeps old weights
    options = dict(zip(evaluate[3::2], evaluate[4::2], strict=True))
    assert options["--batch_size"] == "1"
    paths = options["--tasks"].split(",")
    assert [yaml.safe_load(Path(path).read_text())["task"] for path in paths] == list(toy.tasks)


def test_its_scores_are_named_as_ours() -> None:
    results = {"results": {"t": {"alias": "t", "acc,none": 0.5, "acc_stderr,none": 0.1, "acc_norm,none": 1}}}
    assert metrics(results) == {"t/acc": 0.5, "t/acc_norm": 1.0}


def test_stages_add_up_to_the_total() -> None:
    runs = [evaluation_peer.Run({"imports": 2.0, "total": 3.0, "rest": 1.0}, 0, "")] * 2
    assert both(runs) == {"imports": 4.0, "total": 6.0, "rest": 2.0}
    seconds = evaluation.stages({"start": 1.0, "train": 5.0, "score": 2.0}, before=0.5, total=10.0)
    assert seconds == {"start": 1.5, "train": 5.0, "score": 2.0, "rest": 1.5, "total": 10.0}
    assert outside(seconds) == pytest.approx(0.3)


def test_the_table_and_the_goals() -> None:
    done = Work(parameters=1_000, trained=100, scored=50, requests=4)
    assert (done.training_flop, done.scoring_flop) == (400_000, 100_000)
    ours = Side({"train": 4.0, "validate": 0.0, "score": 2.0, "total": 8.0}, 2**20, {})
    peer = Side({"train": 40.0, "validate": 0.0, "score": 20.0, "total": 100.0}, 2**21, {})
    sides = {"warm": ours, "litgpt": peer}
    table = dict(rows(sides, done, rate=200_000))
    assert table["training, of rate"] == {"warm": "50.0%", "litgpt": "5.0%"}
    assert table["scoring, of rate"] == {"warm": "25.0%", "litgpt": "2.5%"}
    assert table["times as fast"] == {"warm": "12.50", "litgpt": "1.00"}
    assert table["outside arithmetic"] == {"warm": "25%", "litgpt": "40%"}
    assert table["peak MiB"] == {"warm": "1", "litgpt": "2"}
    assert "train" in shown(list(table.items()))
    on_gpu = goals(sides, done, 200_000, "cuda")
    assert on_gpu["times as fast"] == (12.5, 10)
    assert on_gpu["outside arithmetic"] == (0.25, 0.15)
    assert goals(sides, done, 200_000, "cpu") == {"times as fast": (12.5, 3)}
    assert median([peer, ours, ours]) is ours


def test_the_work_counts_shared_rows_once(toy: Inputs) -> None:
    done = work(toy, lengths=[11, 21], samples=10)
    assert done.trained == 150  # of a sample of n tokens, n - 1 go in
    assert done.requests == 4 * (5 + 6)
    questions = [json.loads(line) for line in toy.tasks["mmlu_like"].read_text().splitlines()]
    assert all(one["choices"] == list("ABCD") for one in questions)
    alone = work(Inputs(toy.model, toy.data, {"mmlu_like": toy.tasks["mmlu_like"]}), [9, 9], 1)
    from litgpt.tokenizer import Tokenizer

    tokenizer = Tokenizer(toy.model)
    assert alone.scored == sum(len(tokenizer.encode(f"{one['query']} A")) - 1 for one in questions)


def test_a_llama_of_random_weights_has_the_published_size(toy: Inputs) -> None:
    from litgpt.model import GPT, Config
    from transformers import AutoConfig, AutoModelForCausalLM

    from jobs.checkpoints import check as checkpoint
    from jobs.export import hugging_face
    from jobs.model import lora
    from orchestrator.contract import LitGPTEvaluation

    section = {"kind": "litgpt", "model": str(toy.model), "data": "x", "steps": 1}
    checkpoint.check(toy.model, LitGPTEvaluation.model_validate(section))
    import torch

    config = Config.from_name("Llama-3.2-1B")
    with torch.device("meta"):
        named = dict(GPT(config).named_parameters())
    assert sum(p.numel() for name, p in named.items() if "wte" not in name) == 1_235_814_400
    small = Config.from_file(toy.model / "model_config.yaml")
    models: Any = AutoModelForCausalLM
    theirs = models.from_config(AutoConfig.from_pretrained(toy.model)).eval()
    theirs.load_state_dict(hugging_face.converted(small, lora.weights(toy.model), toy.model))
    place = torch.device("cpu")
    ours = lora.load(toy.model, None, (), precision="fp32", seed=0, device=place).eval()
    ids = torch.arange(5, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours(ids), atol=1e-4, rtol=1e-4)


def test_made_up_text_has_the_published_lengths() -> None:
    text = Text(["word"], random.Random(0))
    lengths = [len(text.instruction()["output"].split()) for _ in range(2000)]
    assert sum(lengths) / len(lengths) == pytest.approx(60 * 1.13, rel=0.1)  # e^(σ²/2) above the median
    assert max(lengths) <= 6 * 60


def test_volumes_are_whole_batches() -> None:
    assert evaluation_inputs.PUBLISHED.scaled(0.001, 16) == Volume(48, 4, 10, 14)
    assert evaluation_inputs.PUBLISHED.scaled(1.0, 16) == evaluation_inputs.PUBLISHED


def test_the_matrix_rate_is_a_rate() -> None:
    assert 1e9 < matrix_rate("cpu", "fp32", threads=1) < 1e13
