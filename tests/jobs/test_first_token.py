"""Texts to score begin as those of the `transformers` library do, for every way to say so."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from litgpt.tokenizer import Tokenizer
from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, pre_tokenizers
from tokenizers.processors import ByteLevel, Sequence, TemplateProcessing
from transformers import AutoTokenizer

from jobs.tasks.language_model import LitGPTModel, _begins_texts

BEGIN = TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)])
PROCESSORS: dict[str, Any] = {"none": None, "begin": BEGIN, "last": Sequence([ByteLevel(), BEGIN])}
CLASSES = ("PreTrainedTokenizerFast", "LlamaTokenizer", "GPT2Tokenizer", "Qwen2Tokenizer")


def write_tokenizer(folder: Path, kind: str, asked: bool | None, processor: str) -> None:
    folder.mkdir(parents=True)
    words = {word: number for number, word in enumerate(("<s>", "</s>", "<unk>", "a", "b"))}
    tokenizer = Fast(models.BPE(vocab=words, merges=[], unk_token="<unk>"))
    tokenizer.add_special_tokens(["<s>", "</s>", "<unk>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if PROCESSORS[processor] is not None:
        tokenizer.post_processor = PROCESSORS[processor]
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": kind, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    asked_for = {} if asked is None else {"add_bos_token": asked}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, **asked_for}))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))


@pytest.mark.parametrize(
    ("kind", "asked", "processor"), [*itertools.product(CLASSES, (None, True, False), PROCESSORS)]
)
def test_a_text_begins_as_in_transformers(
    tmp_path: Path, kind: str, asked: bool | None, processor: str
) -> None:
    write_tokenizer(tmp_path / "model", kind, asked, processor)
    theirs: list[int] = AutoTokenizer.from_pretrained(tmp_path / "model")("ab").input_ids
    tokenizer = Tokenizer(tmp_path / "model")
    ours = object.__new__(LitGPTModel)
    ours._tokenizer, ours._begins = tokenizer, _begins_texts(tokenizer)
    assert ours.tok_encode("ab") == theirs
    assert ours.tok_encode("ab", add_special_tokens=False) == [3, 4]
