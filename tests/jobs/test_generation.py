"""Text that a model writes, and whole texts scored: as lm-eval's own Hugging Face model has it."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from litgpt.tokenizer import Tokenizer

from jobs.attempt.failure import EvaluationFailed
from jobs.model import lora
from jobs.prepare.demo import Demo
from jobs.tasks import generation
from jobs.tasks.generation import Prompt, generate
from jobs.tasks.language_model import LitGPTModel
from orchestrator.contract import Failure
from tests.jobs.families import CPU, MODELS, family

WORDS = "what is the colour of an old horse how many legs has it got when two are lame".split(" ")  # noqa: SIM905 - read at a glance


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, base: Demo) -> tuple[LitGPTModel, Any]:
    """A model as we run it, and as lm-eval's own class does."""
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedTokenizerFast

    hf, lit = family(tmp_path_factory.mktemp("twins"), base.model, "llama", num_key_value_heads=2)
    net = lora.load(lit, None, (), precision="fp32", seed=0, device=CPU).eval()
    tokenizer = Tokenizer(lit)
    words: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(lit / "tokenizer.json")
    )
    words.eos_token_id = words.pad_token_id = tokenizer.eos_id
    words.bos_token_id = tokenizer.bos_id
    network = MODELS.from_pretrained(hf)
    network.generation_config.eos_token_id = tokenizer.eos_id
    theirs = HFLM(pretrained=network, tokenizer=words, batch_size=4, max_length=64)
    return LitGPTModel(net, tokenizer, CPU, lambda _: None), theirs


def requests(texts: list[str], settings: dict[str, Any] | None = None) -> list[Any]:
    return [SimpleNamespace(args=(text,) if settings is None else (text, settings)) for text in texts]


def texts(count: int, longest: int) -> list[str]:
    rng = random.Random(4)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, longest))) for _ in range(count)]


@pytest.mark.parametrize("settings", [{"max_gen_toks": 24}, {"until": [" the", "is"], "max_gen_toks": 40}])
def test_greedy_text_is_that_of_transformers(both: tuple[LitGPTModel, Any], settings: dict[str, Any]) -> None:
    ours, theirs = both
    asked = texts(14, longest=30)  # some are longer than the context leaves room for
    expected = theirs.generate_until(requests(asked, settings), disable_tqdm=True)
    assert ours.generate_until(requests(asked, settings)) == expected
    assert len(set(expected)) > 5
    assert ours._model.mask_cache is None


def test_whole_texts_are_scored_as_by_transformers(both: tuple[LitGPTModel, Any]) -> None:
    ours, theirs = both
    asked = [*texts(6, longest=20), " ".join(texts(30, longest=20))]  # the last is many contexts long
    expected = theirs.loglikelihood_rolling(requests(asked), disable_tqdm=True)
    assert ours.loglikelihood_rolling(requests(asked)) == pytest.approx(expected, abs=1e-3)


def prompts(count: int = 9, **changes: Any) -> list[Prompt]:
    rng = random.Random(2)
    return [
        Prompt(tuple(rng.randrange(3, 300) for _ in range(rng.randint(1, 20))), **{"longest": 12, **changes})
        for _ in range(count)
    ]


def written(ours: LitGPTModel, asked: list[Prompt]) -> list[list[int]]:
    return generate(ours._model, asked, eos=-1, decode=ours._decoded, device=CPU)


@pytest.mark.parametrize("how", [{}, {"temperature": 1.5}, {"temperature": 0.7, "top_k": 20, "top_p": 0.9}])
def test_a_text_does_not_depend_on_its_batch(
    both: tuple[LitGPTModel, Any], monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    together = written(both[0], prompts(**how))
    alone = [written(both[0], [prompt])[0] for prompt in prompts(**how)]
    assert together == alone
    monkeypatch.setitem(generation._CACHE_BYTES, "cpu", 1)  # one row at a time
    assert written(both[0], prompts(**how)) == together
    if how:
        assert written(both[0], prompts(**how, seed=5)) != together


def test_draws_are_of_the_likeliest(both: tuple[LitGPTModel, Any]) -> None:
    greedy = written(both[0], prompts())
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}):
        assert written(both[0], prompts(temperature=3.0, **narrow)) == greedy


def test_logits_that_are_not_finite_write_nothing(both: tuple[LitGPTModel, Any], base: Demo) -> None:
    net = lora.load(base.model, None, (), precision="fp32", seed=0, device=CPU).eval()
    with torch.no_grad():
        net.lm_head.linear.weight[3] = float("nan")
    ours = LitGPTModel(net, Tokenizer(base.model), CPU, lambda _: None)
    with pytest.raises(EvaluationFailed, match="not finite") as raised:
        ours.generate_until(requests(["what"], {"max_gen_toks": 3}))
    assert raised.value.failure is Failure.DIVERGED
    assert net.mask_cache is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_beams": 4}, "generated with num_beams"),
        ({"max_gen_toks": 64}, "64 tokens written, and the model"),
    ],
)
def test_what_is_not_done_is_refused(
    both: tuple[LitGPTModel, Any], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(EvaluationFailed, match=words):
        both[0].generate_until(requests(["what"], settings))
