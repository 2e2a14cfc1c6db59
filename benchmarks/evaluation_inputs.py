"""What both sides of `evaluation.py` read: a model, instructions, tasks; real ones, or made up by code."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from jobs.inputs.manifest import TOKENIZER_FILES

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "llm"
_LETTERS = "ABCD"
# Of made-up text, in words, each about one token: medians that give Alpaca's 125 tokens a sample with its
# prompt, HellaSwag's 85 a choice and MMLU's 115 a question.
_INSTRUCTION, _OUTPUT, _CONTEXT, _ENDING, _QUESTION = 12, 60, 50, 28, 95
# A toy of the same family, for trying the script.
TOY = {
    "n_layer": 2,
    "n_embd": 128,
    "n_head": 4,
    "head_size": 32,
    "n_query_groups": 2,
    "intermediate_size": 344,
    "padded_vocab_size": 4096,
    "block_size": 2048,
}


@dataclass(frozen=True)
class Volume:
    """How much of everything: samples seen in training, held-out samples, documents of each task."""

    samples: int
    held_out: int
    hellaswag: int
    mmlu: int

    def scaled(self, share: float, multiple: int) -> Volume:
        """That share of it; samples as whole batches of `multiple`."""
        steps = max(2, round(self.samples * share / multiple))
        rest = (max(4, round(n * share)) for n in (self.held_out, self.hellaswag, self.mmlu))
        return Volume(steps * multiple, *rest)


SMALL = Volume(samples=800, held_out=200, hellaswag=400, mmlu=400)
PUBLISHED = Volume(samples=49_760, held_out=2000, hellaswag=10_042, mmlu=14_042)


@dataclass(frozen=True)
class Inputs:
    """
    Attributes:
        model: a LitGPT checkpoint with Hugging Face's config.json.
        data: a directory with train.json and val.json, in Alpaca layout.
        tasks: name -> file of query, choices and label.
    """

    model: Path
    data: Path
    tasks: dict[str, Path]


def shared(folder: Path, volume: Volume) -> Inputs:
    """The small pretrained model and real data, from beside the checkout.

    Raises:
        FileNotFoundError: they are not there.
    """
    train = json.loads((SHARED / "sft" / "train.json").read_text(encoding="utf-8"))
    held_out = json.loads((SHARED / "sft" / "val.json").read_text(encoding="utf-8"))
    endings = _lines(SHARED / "tasks" / "hellaswag_val.jsonl", volume.hellaswag)
    questions = map(as_mmlu, _lines(SHARED / "tasks" / "mmlu_test.jsonl", volume.mmlu))
    return _written(folder, SHARED / "base", (train, held_out[: volume.held_out]), endings, questions)


def made_up(folder: Path, volume: Volume, name: str, dtype: str, shape: dict[str, int]) -> Inputs:
    """Random weights of LitGPT's model `name`, with `shape` instead of its own numbers, and random text."""
    rng = random.Random(1729)
    words = sorted({_word(rng) for _ in range(3000)})
    text = Text(words, rng)
    train = [text.instruction() for _ in range(min(volume.samples, PUBLISHED.samples))]
    held_out = [text.instruction() for _ in range(volume.held_out)]
    model = folder / name
    model.mkdir(parents=True)
    _tokenizer(model, [*words, _alpaca()])
    _weights(model, name, dtype, shape)
    endings = (text.endings() for _ in range(volume.hellaswag))
    questions = (as_mmlu(text.question()) for _ in range(volume.mmlu))
    return _written(folder, model, (train, held_out), endings, questions)


class Text:
    """Documents of random words, their lengths spread as those of real ones are."""

    def __init__(self, words: list[str], rng: random.Random) -> None:
        self._words, self._rng = words, rng

    def _some(self, median: int) -> str:
        count = max(1, min(6 * median, round(median * math.exp(self._rng.gauss(0.0, 0.5)))))
        return " ".join(self._rng.choices(self._words, k=count))

    def instruction(self) -> dict[str, str]:
        return {"instruction": self._some(_INSTRUCTION), "input": "", "output": self._some(_OUTPUT)}

    def endings(self) -> dict[str, Any]:
        choices = [self._some(_ENDING) for _ in _LETTERS]
        return {"query": self._some(_CONTEXT), "choices": choices, "label": self._rng.randrange(4)}

    def question(self) -> dict[str, Any]:
        choices = self._rng.choices(self._words, k=4)
        return {"question": self._some(_QUESTION), "choices": choices, "answer": self._rng.randrange(4)}


def as_mmlu(item: dict[str, Any]) -> dict[str, Any]:
    """A question as lm-eval's MMLU asks it: the choices stand in the question, a letter is the answer."""
    choices = "".join(f"\n{letter}. {one}" for letter, one in zip(_LETTERS, item["choices"], strict=True))
    query = f"{item['question'].strip()}{choices}\nAnswer:"
    return {"query": query, "choices": list(_LETTERS), "label": item["answer"]}


def _written(
    folder: Path,
    model: Path,
    instructions: tuple[list[Any], list[Any]],
    endings: Iterable[Any],
    questions: Iterable[Any],
) -> Inputs:
    data = folder / "data"
    data.mkdir(parents=True)
    for name, entries in zip(("train", "val"), instructions, strict=True):
        (data / f"{name}.json").write_text(json.dumps(entries), encoding="utf-8")
    tasks = {"hellaswag_like": folder / "hellaswag.jsonl", "mmlu_like": folder / "mmlu.jsonl"}
    for path, items in zip(tasks.values(), (endings, questions), strict=True):
        path.write_text("".join(json.dumps(one) + "\n" for one in items), encoding="utf-8")
    return Inputs(model, data, tasks)


def _lines(path: Path, count: int) -> Iterator[Any]:
    for line in path.read_text(encoding="utf-8").splitlines()[:count]:
        yield json.loads(line)


def _word(rng: random.Random) -> str:
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    return "".join(rng.choices(syllables, k=rng.randint(1, 3)))


def _alpaca() -> str:
    from litgpt.prompts import PromptStyle

    style: Callable[..., str] = PromptStyle.from_name("alpaca").apply
    return style(prompt="", input="")


def _tokenizer(folder: Path, texts: list[str]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((f" {text}" for text in texts), trainer)
    tokenizer.save(str(folder / TOKENIZER_FILES[0]))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "add_bos_token": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "generation_config.json").write_text('{"bos_token_id": 0, "eos_token_id": 1}', encoding="utf-8")


def _weights(folder: Path, name: str, dtype: str, shape: dict[str, int]) -> None:
    import torch
    from litgpt.model import GPT, Config

    config = Config.from_name(name, **shape)
    (folder / "model_config.yaml").write_text(yaml.safe_dump(asdict(config)), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(_as_hugging_face(config, dtype)), encoding="utf-8")
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in GPT(config).state_dict().items()}
    generator = torch.Generator().manual_seed(7)
    state = {
        key: torch.ones(size, dtype=getattr(torch, dtype))
        if len(size) == 1
        else torch.empty(size, dtype=getattr(torch, dtype)).normal_(0.0, 0.02, generator=generator)
        for key, size in shapes.items()
    }
    torch.save(state, folder / "lit_model.pth")


def _as_hugging_face(config: Any, dtype: str) -> dict[str, Any]:
    """config.json of a Llama; its head is a matrix of its own here, which costs no arithmetic."""
    rope: dict[str, Any] = {"rope_type": "default"}
    if found := config.rope_adjustments:
        rope = {
            "rope_type": "llama3",
            "factor": found["factor"],
            "low_freq_factor": found["low_freq_factor"],
            "high_freq_factor": found["high_freq_factor"],
            "original_max_position_embeddings": found["original_max_seq_len"],
        }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": config.n_embd,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_query_groups,
        "head_dim": config.head_size,
        "vocab_size": config.padded_vocab_size,
        "max_position_embeddings": config.block_size,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": float(config.rope_base),
        "rope_scaling": rope,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "torch_dtype": dtype,
    }


def empty(folder: Path) -> None:
    """Remove the folder and what is in it, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)
