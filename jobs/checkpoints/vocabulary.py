"""Checks that a tokenizer belongs to a model, by what usually differs if it is of another one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from litgpt.lora import Config
from litgpt.tokenizer import Tokenizer

from jobs.attempt.failure import one_line
from jobs.data.tokens import Sample
from jobs.inputs.limits import CONFIG, hugging_face

_DIFFERENT = "tokenizer and weights are of different models: take both from the same one"
# Embeddings are padded to a multiple of 512 at most. phi-2 has 2 % more rows than tokens; no known model has
# more. With fewer tokens than this share of the vocabulary, less the padding, a tokenizer is of another one.
_FEWEST, _PADDING = 0.8, 512


def tokenizer_problems(path: Path, config: Config) -> list[str]:
    """Why the tokenizer in `path` does not fit the model that `config` describes; empty if it does."""
    try:
        tokenizer = Tokenizer(path)
    except Exception as error:  # noqa: BLE001 - the tokenizers library raises bare Exception
        return [f"its tokenizer cannot be loaded: {one_line(str(error))}"]
    tokens, added = _tokens(tokenizer)
    rows = int(config.padded_vocab_size)
    problems = []
    if tokens > rows:
        problems.append(f"its tokenizer has {tokens} tokens and the model {rows}: {_DIFFERENT}")
    elif tokens + added < _FEWEST * config.vocab_size - _PADDING:
        problems.append(f"its tokenizer has only {tokens + added} tokens and the model {rows}: {_DIFFERENT}")
    if tokenizer.eos_id is None:
        problems.append("no end-of-text token: name eos_token in tokenizer_config.json")
    for name, number in (("eos", tokenizer.eos_id), ("bos", tokenizer.bos_id)):
        if number is None or (name == "bos" and number == -1):  # sentencepiece's word for none
            continue
        if not isinstance(number, int) or not 0 <= number < rows:
            problems.append(
                f"its {name} token has the id {number}, and the model's are 0..{rows - 1}: correct "
                f"{name}_token in tokenizer_config.json or {name}_token_id in generation_config.json"
            )
    return problems or _disagreement(tokenizer, hugging_face(path))


def stray_problems(samples: Iterable[Sample], path: Path) -> list[str]:
    """A line about the first token in `samples` that the model in `path` lacks; empty if it has all."""
    rows = int(Config.from_file(path / CONFIG).padded_vocab_size)
    for sample in samples:
        if (highest := int(sample.ids.max(initial=0))) >= rows:
            text = Tokenizer(path).processor.decode([highest], skip_special_tokens=False)
            remedy = "leave it out of the data, or take a model that was trained with it"
            return [f"data: holds {text!r}, token {highest}, and the model's are 0..{rows - 1}: {remedy}"]
    return []


def _tokens(tokenizer: Tokenizer) -> tuple[int, int]:
    """One more than the highest id of a token that is not special, and the number of special tokens.

    A few published models, such as Gemma 3 1B, ship special tokens of their larger relatives. No text usually
    has them, so they are no reason to refuse a model. If one has, `prepare` finds it in the tokenized data.
    """
    if tokenizer.backend != "huggingface":
        return int(tokenizer.vocab_size), 0
    added = tokenizer.processor.get_added_tokens_decoder()
    special = {number for number, one in added.items() if one.special}
    ids = set(tokenizer.processor.get_vocab(with_added_tokens=True).values())
    return max(ids - special, default=-1) + 1, len(special)


def _disagreement(tokenizer: Tokenizer, origin: Mapping[str, Any]) -> list[str]:
    """Whether tokenizer and config.json name different tokens for both the beginning and the end of a text.

    One of the two may differ, as the end does in chat models; both differ only if one file is of another
    model.
    """
    told = []
    for name, number in (("bos", tokenizer.bos_id), ("eos", tokenizer.eos_id)):
        said = origin.get(f"{name}_token_id")
        if said is None or number is None:
            continue
        if number in (said if isinstance(said, list) else [said]):
            return []
        told.append(f"{name}_token_id is {said} in config.json and {number} in the tokenizer")
    return [f"{', '.join(told)}: {_DIFFERENT}"] if len(told) > 1 else []
