"""Adapters written for other programs: the same numbers there, whatever is adapted; and what cannot be."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litgpt.config
import pytest
import torch
import yaml
from litgpt.lora import Config
from litgpt.scripts import convert_lit_checkpoint as to_hf
from litgpt.scripts.merge_lora import merge_lora
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoTokenizer

from jobs.export import hugging_face
from jobs.export.adapter import Adapter
from jobs.export.export import FORMS, export
from jobs.model import lora
from jobs.prepare.demo import Demo
from orchestrator.errors import InputError
from tests.jobs.families import CPU, MODELS, adapter, family

IDS = torch.randint(2, 320, (2, 21), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, base: Demo) -> tuple[Path, Path]:
    """With two key-value groups for four heads."""
    return family(tmp_path_factory.mktemp("llama"), base.model, "llama", num_key_value_heads=2)


def written(what: Adapter, form: Any, folder: Path) -> Path:
    out: Path = folder / "out" / form
    export(what, form, out, {"trial": 7}, folder)
    assert json.loads((out / "orchestrator.json").read_text()) == {"trial": 7}
    return out


def logits(net: Any) -> torch.Tensor:
    with torch.no_grad():
        found = net(IDS)
    return found if isinstance(found, torch.Tensor) else found.logits


def from_pretrained(path: Path) -> Any:
    return MODELS.from_pretrained(path, attn_implementation="eager").eval()


def with_peft(hf: Path, path: Path) -> Any:
    return PeftModel.from_pretrained(from_pretrained(hf), path).eval()


def assert_same(found: torch.Tensor, expected: torch.Tensor, base: torch.Tensor) -> None:
    """Equal logits, and of another size than the base model's: the adapter is in it."""
    assert (expected - base).abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


LAYERS = [
    ("query", "value"),
    ("key",),
    ("query", "key"),
    ("key", "value"),
    ("query", "key", "value"),
    ("projection",),
    ("mlp",),
    ("value", "head"),
    ("query", "key", "value", "projection", "mlp", "head"),
]


@pytest.mark.parametrize("layers", LAYERS, ids="+".join)
def test_the_logits_are_the_same_in_transformers_and_in_peft(
    tmp_path: Path, llama: tuple[Path, Path], layers: tuple[str, ...]
) -> None:
    hf, lit = llama
    what, net = adapter(tmp_path, lit, layers)
    base = logits(from_pretrained(hf))
    assert_same(logits(with_peft(hf, written(what, "peft", tmp_path))), logits(net), base)
    assert_same(logits(from_pretrained(written(what, "hf", tmp_path))), logits(net), base)


EVERYWHERE = ("query", "value", "projection", "mlp")


@pytest.mark.parametrize(
    ("kind", "changes", "layers"),
    [
        ("llama", {}, EVERYWHERE),
        ("llama", {"num_key_value_heads": 1}, EVERYWHERE),
        ("llama", {"num_key_value_heads": 2, "head_dim": 12}, EVERYWHERE),
        ("qwen2", {"num_key_value_heads": 2}, EVERYWHERE),
        ("qwen3", {"num_key_value_heads": 2}, EVERYWHERE),
        ("gemma2", {"num_key_value_heads": 2}, EVERYWHERE),
        ("mixtral", {"num_key_value_heads": 2}, ("query", "value")),
        ("phi", {}, EVERYWHERE),
    ],
)
def test_so_they_are_with_other_heads_and_families(
    tmp_path: Path, base: Demo, kind: str, changes: dict[str, int], layers: tuple[str, ...]
) -> None:
    hf, lit = family(tmp_path, base.model, kind, **changes)
    what, net = adapter(tmp_path, lit, layers)
    untouched = logits(from_pretrained(hf))
    assert_same(logits(with_peft(hf, written(what, "peft", tmp_path))), logits(net), untouched)
    assert_same(logits(from_pretrained(written(what, "hf", tmp_path))), logits(net), untouched)


def test_experts_can_be_adapted_and_merged_but_peft_has_no_such_layers(tmp_path: Path, base: Demo) -> None:
    hf, lit = family(tmp_path, base.model, "mixtral")
    what, net = adapter(tmp_path, lit, ("mlp",))
    assert_same(
        logits(from_pretrained(written(what, "hf", tmp_path))), logits(net), logits(from_pretrained(hf))
    )
    with pytest.raises(InputError, match="its layers gate, w1, w2, w3 are not those that were adapted"):
        written(what, "peft", tmp_path)


def test_peft_is_refused_where_query_key_and_value_are_one(tmp_path: Path, base: Demo) -> None:
    hf, lit = family(tmp_path, base.model, "neox")
    what, net = adapter(tmp_path, lit, ("query", "mlp"))
    assert_same(
        logits(from_pretrained(written(what, "hf", tmp_path))), logits(net), logits(from_pretrained(hf))
    )
    with pytest.raises(InputError, match="query, key and value are one matrix there"):
        written(what, "peft", tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["hf"]
    what, net = adapter(tmp_path / "mlp", lit, ("projection", "mlp"))
    peft = written(what, "peft", tmp_path / "mlp")
    assert_same(logits(with_peft(hf, peft)), logits(net), logits(from_pretrained(hf)))


@pytest.mark.parametrize("layers", [("query", "value"), ("key", "projection", "mlp", "head")], ids="+".join)
def test_merged_weights_are_litgpts_own_bit_for_bit(
    tmp_path: Path, llama: tuple[Path, Path], layers: tuple[str, ...]
) -> None:
    what, net = adapter(tmp_path, llama[1], layers)
    ours = written(what, "litgpt", tmp_path)
    theirs = tmp_path / "theirs"  # as `litgpt finetune_lora` leaves it
    shutil.copytree(llama[1], theirs)
    (theirs / "lit_model.pth").unlink()
    torch.save({"model": lora.adapters(net)}, theirs / "lit_model.pth.lora")
    hyperparameters = {"lora_r": 3, "lora_alpha": 7.5, "lora_dropout": 0.1, "precision": "32-true"}
    hyperparameters |= {"checkpoint_dir": str(llama[1]), **{f"lora_{layer}": True for layer in layers}}
    (theirs / "hyperparameters.yaml").write_text(yaml.safe_dump(hyperparameters))
    merge_lora(theirs)
    found, expected = (torch.load(path / "lit_model.pth") for path in (ours, theirs))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    litgpt.utils.check_valid_checkpoint_dir(ours)
    assert (ours / "prompt_style.yaml").is_file()


def test_merged_weights_are_those_that_were_scored(tmp_path: Path, base: Demo) -> None:
    """In the evaluation's precision; the demo's model, which Hugging Face does not know."""
    what, net = adapter(tmp_path, base.model, ("query", "value", "mlp"), precision="bf16")
    lora.merge(net)
    out = written(what, "litgpt", tmp_path)
    loaded = lora.load(out, None, (), precision="bf16", seed=0, device=CPU)
    assert torch.equal(logits(loaded), logits(net))
    assert {tensor.dtype for tensor in lora.weights(out).values()} == {torch.bfloat16}
    for form in ("hf", "peft"):
        with pytest.raises(InputError, match=r"has no config\.json.*--format litgpt"):
            written(what, form, tmp_path)


def test_a_tied_head_is_written_once(tmp_path: Path, base: Demo) -> None:
    _, lit = family(tmp_path, base.model, "llama", num_key_value_heads=2)
    state = torch.load(lit / "lit_model.pth")
    state["lm_head.weight"] = state["transformer.wte.weight"].clone()
    torch.save(state, lit / "lit_model.pth")
    content = json.loads((lit / "config.json").read_text()) | {"tie_word_embeddings": True}
    (lit / "config.json").write_text(json.dumps(content))
    what, net = adapter(tmp_path, lit, ("query", "value"))
    out = written(what, "hf", tmp_path)
    found = from_pretrained(out)
    assert found.lm_head.weight is found.model.embed_tokens.weight
    torch.testing.assert_close(logits(found), logits(net), atol=1e-5, rtol=1e-5)
    assert AutoTokenizer.from_pretrained(out)("a hammer")["input_ids"]


def test_a_model_that_its_config_does_not_describe_is_refused(tmp_path: Path, base: Demo) -> None:
    _, lit = family(tmp_path, base.model, "llama", num_key_value_heads=2)
    content = json.loads((lit / "config.json").read_text())
    for changes, told in (
        ({"num_key_value_heads": 4}, "transformers does not take|another shape"),
        ({"num_hidden_layers": 3}, "it lacks model.layers.2"),
        ({"model_type": "nobody-knows"}, "transformers does not take its config.json"),
    ):
        (lit / "config.json").write_text(json.dumps(content | changes))
        what, _ = adapter(tmp_path, lit, ("query", "value"))
        with pytest.raises(InputError, match=told) as refused:
            written(what, "hf", tmp_path)
        assert len(refused.value.problems) == 1
        assert "\n" not in str(refused.value)
        with pytest.raises(InputError, match="cannot be written so"):
            written(what, "peft", tmp_path)
    config = Config(name="tiny", n_layer=1, mlp_class_name="LLaMAMLP", intermediate_size=8)
    with pytest.raises(InputError, match="LitGPT does not convert tiny back"):
        hugging_face.converted(config, {"transformer.h.0.attn.norm_q.weight": torch.zeros(3)}, lit)


def test_the_conversion_is_litgpts_choice_for_every_model_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[tuple[str, bool]] = []

    def recorder(name: str) -> Any:
        def record(*_: Any, untie_weights: bool = False, **__: Any) -> None:
            chosen.append((name, untie_weights))

        return record

    @contextlib.contextmanager
    def nothing(_: Path) -> Iterator[Any]:
        yield type("Saver", (), {"save": staticmethod(lambda _: None)})

    for name in dir(to_hf):
        if name.startswith("copy_weights_"):
            copy = recorder(name)
            for key, known in hugging_face._BY_NAME.items():
                if known is getattr(to_hf, name):
                    monkeypatch.setitem(hugging_face._BY_NAME, key, copy)
            monkeypatch.setattr(to_hf, name, copy)
    monkeypatch.setattr(to_hf, "incremental_save", nothing)
    monkeypatch.setattr(to_hf, "lazy_load", lambda _: {})
    monkeypatch.setattr(to_hf, "extend_checkpoint_dir", lambda path: path)
    monkeypatch.setattr(to_hf, "pprint", lambda _: None)
    monkeypatch.setattr(to_hf.gc, "collect", lambda: None)
    for content in litgpt.config.configs:
        config = Config(**content)
        monkeypatch.setattr(to_hf.Config, "from_file", lambda _, config=config: config)
        to_hf.convert_lit_checkpoint(Path("/nowhere"), Path("/tmp"))
        hugging_face._conversion(config)({}, {})
        theirs, ours = chosen[-2:]
        assert ours == theirs or config.name.startswith("Gemma-2b"), config.name
    assert len(chosen) > 200


def test_what_is_damaged_or_of_something_else_is_not_exported(
    tmp_path: Path, llama: tuple[Path, Path]
) -> None:
    what, _ = adapter(tmp_path, llama[1], ("query", "value"))
    content = torch.load(what.file)
    name = next(iter(content["adapter"]))

    def refused(told: str) -> None:
        for form in FORMS:
            with pytest.raises(InputError, match=told):
                written(what, form, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["adapter.pth"]

    content["adapter"][name][0, 0] += 1e-3
    torch.save(content, what.file)
    refused("is not what was scored")
    del content["adapter"][name]
    torch.save(content, what.file)
    refused("does not fit")
    what.file.write_bytes(what.file.read_bytes()[:200])
    refused("is damaged")


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_is_one_line_and_nothing_half_written(
    tmp_path: Path, llama: tuple[Path, Path], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    what, _ = adapter(tmp_path, llama[1], ("query", "value"))
    said = "Error while serializing: I/O error: No space left on device (os error 28)"

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device") if form == "litgpt" else SafetensorError(said)

    monkeypatch.setattr("torch.save", full)
    monkeypatch.setattr("safetensors.torch.save_file", full)
    monkeypatch.setattr("huggingface_hub.save_torch_state_dict", full)
    with pytest.raises(InputError, match="no space is left there"):
        written(what, form, tmp_path)
    assert list((tmp_path / "out").iterdir()) == []
