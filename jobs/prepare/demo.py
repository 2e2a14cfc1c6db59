"""A small model, data and a task made on the spot: the whole program can be tried without a download.

The model is Llama-shaped, in LitGPT's checkpoint layout, and pretrained for half a minute on `demo_text`.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from jobs.data.tokens import Sample
from jobs.inputs.manifest import digest
from jobs.prepare import demo_text

_VERSION = 1  # of the recipe: raise it when the demo changes, and it is made again


@dataclass(frozen=True)
class Shape:
    """How large the demo is and how long it is pretrained."""

    width: int = 64
    layers: int = 3
    heads: int = 4
    vocabulary: int = 768  # so many that the name of every thing is one token
    lessons: int = 8000
    steps: int = 300
    batch_size: int = 48
    learning_rate: float = 5e-3
    seed: int = 7


@dataclass(frozen=True)
class Demo:
    """Where the demo's model, data and task are."""

    model: Path
    train: Path
    val: Path
    task: Path

    @classmethod
    def at(cls, folder: Path) -> Demo:
        """The demo in `folder`."""
        return cls(folder / "tiny-llama", folder / "train.json", folder / "val.json", folder / "kinds.jsonl")


def build(cache: Path, report: Callable[[str], None], shape: Shape | None = None) -> Demo:
    """The demo in `cache`, which is made unless it is there already; `report` is told of each step."""
    shape = shape or Shape()
    # The text and the recipe decide what is made; a new release that changes them makes it anew.
    key = digest([_VERSION, asdict(shape), Path(demo_text.__file__).read_text("utf-8")])
    folder = cache / "demo" / key[:16]
    if folder.is_dir():
        return Demo.at(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    report("demo: making a small model, data and a task: about half a minute")
    with tempfile.TemporaryDirectory(prefix=".make-", dir=folder.parent) as made:
        _make(Demo.at(Path(made)), shape, report)
        try:
            Path(made).rename(folder)
            Path(made).mkdir()  # for the context to remove
        except OSError:  # another process made it meanwhile
            shutil.rmtree(made, ignore_errors=True)
            Path(made).mkdir()
    report(f"demo: made in {time.monotonic() - begun:.0f} s")
    return Demo.at(folder)


def _make(demo: Demo, shape: Shape, report: Callable[[str], None]) -> None:
    rng = random.Random(shape.seed)  # noqa: S311 - no secret
    named, held_out = (demo_text.questions(held_out=one) for one in (False, True))
    for path, questions in ((demo.train, named), (demo.val, held_out)):
        shuffled = demo_text.shuffled(questions, rng)
        path.write_text(
            json.dumps([demo_text.instruction(one) for one in shuffled], indent=1), encoding="utf-8"
        )
    items = [demo_text.item(one, rng) for one in demo_text.shuffled(held_out, rng)]
    demo.task.write_text("".join(json.dumps(one) + "\n" for one in items), encoding="utf-8")
    lessons = list(islice(demo_text.lessons(rng), shape.lessons))
    demo.model.mkdir()
    _tokenizer(demo.model, shape, [question + answer for question, answer in lessons])
    _pretrained(demo.model, shape, lessons, report)


def _tokenizer(folder: Path, shape: Shape, text: list[str]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "add_bos_token": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _pretrained(
    folder: Path, shape: Shape, lessons: list[tuple[str, str]], report: Callable[[str], None]
) -> None:
    import torch
    import yaml
    from litgpt.model import GPT, Config
    from litgpt.tokenizer import Tokenizer

    from jobs.model.loss import sample_losses

    config = Config(
        name="tiny-llama",
        block_size=256,
        vocab_size=shape.vocabulary,
        padded_vocab_size=shape.vocabulary,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_embd=shape.width,
        intermediate_size=3 * shape.width,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
        norm_2=False,  # with it, a learning rate a thousand times too high still gives finite numbers
    )
    (folder / "model_config.yaml").write_text(yaml.safe_dump(asdict(config)), encoding="utf-8")
    encoded = [_sample(Tokenizer(folder), *lesson) for lesson in lessons]
    # Questions in a prompt are longer than bare ones: batches of one kind only have little padding.
    middle = statistics.mean(len(sample.ids) for sample in encoded)
    pools = [[one for one in encoded if (len(one.ids) > middle) is framed] for framed in (False, True)]
    rng = random.Random(shape.seed)  # noqa: S311 - no secret
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more would wait for each other at this size, and sum in another order
    with torch.random.fork_rng():
        torch.manual_seed(shape.seed)
        model = GPT(config)
        model.apply(model._init_weights)  # noqa: SLF001 - LitGPT names its public initializer so
        optimizer = torch.optim.AdamW(model.parameters(), lr=shape.learning_rate, betas=(0.9, 0.95))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, shape.learning_rate, total_steps=shape.steps
        )
        for step in range(shape.steps):
            batch = rng.sample(pools[step % 4 == 0], shape.batch_size)
            loss = sample_losses(model, batch, torch.device("cpu")).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if (step + 1) % max(1, shape.steps // 4) == 0:
                report(f"demo: pretraining step {step + 1} of {shape.steps}, loss {loss.item():.2f}")
    torch.set_num_threads(threads)
    torch.save(model.state_dict(), folder / "lit_model.pth")


def _sample(tokenizer: Any, question: str, answer: str) -> Sample:
    """The tokens of a question and its answer, of which only the answer counts in the loss."""
    ids = tokenizer.encode(question).tolist()
    return Sample(np.array([*ids, *tokenizer.encode(answer, eos=True).tolist()], dtype=np.int32), len(ids))
