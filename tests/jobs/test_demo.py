"""The demo is worth searching: a good configuration is found by its scores, a mad one diverges."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from jobs.attempt.failure import EvaluationFailed
from jobs.attempt.measured import Measured
from jobs.prepare import demo, demo_text
from jobs.prepare.prepare import prepare
from orchestrator.contract import Failure, LitGPTEvaluation
from tests.jobs.conftest import SMALL
from tests.jobs.test_lora import measured

QUICKSTART = LitGPTEvaluation.model_validate(
    {
        "kind": "litgpt",
        "model": "demo",
        "data": "demo",
        "steps": 100,
        "batch_size": 16,
        "micro_batch_size": 16,
        "max_length": 128,
        "precision": "fp32",
        "mask_prompt": True,
        "lora_layers": ["query", "value", "mlp"],
        "tasks": [{"name": "kinds", "file": "demo"}],
    }
)


def test_held_out_things_are_named_nowhere_in_training() -> None:
    named, held_out = (demo_text.questions(held_out=one) for one in (False, True))
    words = {word for question in named for word in question[0].rstrip("?").split()}
    things = {thing for things in demo_text.THINGS.values() for thing in things.split()}
    unnamed = {word for q in held_out for word in q[0].rstrip("?").split()} & things
    assert len(things) == 96
    assert len(unnamed) == 32
    assert not unnamed & words


def test_the_right_choice_is_where_the_label_says() -> None:
    rng = random.Random(1)
    labels = set()
    for question in demo_text.questions(held_out=True):
        item = demo_text.item(question, rng)
        choices, label = item["choices"], item["label"]
        assert isinstance(choices, list)
        assert isinstance(label, int)
        assert choices[label] == question[2][question[3]]
        assert len(set(choices)) == 4
        labels.add(label)
    assert labels == {0, 1, 2, 3}


def test_the_prompt_is_litgpts() -> None:
    from litgpt.prompts import PromptStyle

    assert demo_text.prompt("Why?") == PromptStyle.from_name("alpaca").apply("Why?")


def test_the_same_seed_makes_the_same_demo(base: demo.Demo, tmp_path: Path) -> None:
    again = demo.build(tmp_path, lambda _: None, SMALL)
    for mine, other in (
        (again.model / "lit_model.pth", base.model / "lit_model.pth"),
        (again.task, base.task),
    ):
        assert mine.read_bytes() == other.read_bytes()
    assert demo.build(tmp_path, pytest.fail, SMALL) == again  # it is there: nothing to say, nothing to do
    assert [path.name for path in (tmp_path / "demo").iterdir()] == [again.model.parent.name]


def test_a_good_configuration_is_told_from_the_base_and_a_mad_one_diverges(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    prepare(QUICKSTART, cache, lambda _: None)

    def at(name: str, **configuration: float) -> Measured:
        return measured(tmp_path / name, QUICKSTART, cache, configuration=configuration)

    base = at("base")
    good = at("good", lora_rank=8, lora_alpha=16, learning_rate=1e-2)
    for metric, better in (("val_loss", -1), ("kinds/acc", 1)):
        before, after = base.metrics[metric], good.metrics[metric]
        assert before.stderr is not None
        assert after.stderr is not None
        assert better * (after.value - before.value) > 8 * (before.stderr**2 + after.stderr**2) ** 0.5
    assert good.metrics["kinds/acc"].value > 0.8
    idle = at("idle", lora_rank=8, lora_alpha=16, learning_rate=1e-5)
    assert idle.metrics["kinds/acc"].value == pytest.approx(base.metrics["kinds/acc"].value, abs=0.05)
    with pytest.raises(EvaluationFailed) as raised:
        at("mad", lora_rank=8, lora_alpha=32, learning_rate=0.3)
    assert raised.value.failure is Failure.DIVERGED
