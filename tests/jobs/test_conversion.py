"""A Hugging Face model in LitGPT's layout computes the same, or is refused."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from litgpt import config as litgpt_config

from jobs.checkpoints import conversion
from jobs.model.lora import load
from jobs.prepare.demo import Demo
from tests.jobs.hub_models import NAME, WEIGHTS, change, fetched, gets, refused, saved
from tests.jobs.hub_server import Hub


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize(
    "unlike",
    [
        {"tie_word_embeddings": True, "head_dim": 16, "num_key_value_heads": 4},
        {
            "max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 1e4,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
    ],
)
def test_variants_of_llama_compute_the_same(base: Demo, tmp_path: Path, unlike: dict[str, Any]) -> None:
    ids = torch.randint(0, 320, (2, 60), generator=torch.Generator().manual_seed(1))
    theirs = saved(tmp_path, base, **unlike)
    conversion.convert("a/b", tmp_path)
    conversion.check("a/b", tmp_path)
    net = load(tmp_path, None, (), precision="fp32", seed=0, device=torch.device("cpu")).eval()
    with torch.no_grad():
        assert (net(ids) - theirs(ids).logits).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("unlike", "said"),
    [
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_type is 'yarn'"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"mlp_bias": True}, "its MLP has biases"),
        ({"hidden_size": None}, "config.json lacks a number"),
    ],
)
def test_what_litgpt_has_no_word_for_is_refused(
    served: Hub, own: Path, unlike: dict[str, Any], said: str
) -> None:
    change(served, lambda config: {**config, "rope_parameters": None} | unlike)
    assert said in refused(own)
    assert list((own / "models").glob(".fetch-*")) == []


def test_what_litgpt_does_not_know_is_refused_before_its_weights_are_fetched(served: Hub, own: Path) -> None:
    change(served, lambda config: config | {"architectures": ["Other"], "attention_bias": True})
    problem = refused(own)
    assert "is not one that LitGPT knows" in problem
    assert "architecture is ['Other'], its attention has biases" in problem
    assert gets(served, WEIGHTS) == []


def test_weights_in_parts_are_fetched_with_their_index(served: Hub, own: Path, base: Demo) -> None:
    whole = (fetched(own) / "lit_model.pth").read_bytes()
    shutil.rmtree(own)
    (served.folder / WEIGHTS).unlink()
    saved(served.folder, base, parts="40KB")
    assert len(list(served.folder.glob("model-*.safetensors"))) > 2
    (served.folder / "pytorch_model.bin").write_bytes(b"a pickle")
    path = fetched(own)
    assert torch.load(path / "lit_model.pth").keys() == torch.load(io.BytesIO(whole)).keys()
    for name, tensor in torch.load(io.BytesIO(whole)).items():
        assert torch.equal(tensor, torch.load(path / "lit_model.pth")[name])
    assert gets(served, "pytorch_model.bin") == []
    assert not list(path.glob("model*.safetensors*"))


def test_a_name_that_litgpt_knows_decides(served: Hub, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = conversion._plain_llama(NAME, json.loads((served.folder / "config.json").read_text()))
    change(served, lambda config: config | {"architectures": ["Other"]})
    monkeypatch.setattr("jobs.checkpoints.conversion.configs", [shape])
    monkeypatch.setitem(litgpt_config.name_to_config, "small-llama", shape)
    assert (fetched(own) / "lit_model.pth").is_file()


def test_weights_unlike_their_configuration_get_no_name(served: Hub, own: Path) -> None:
    change(served, lambda config: config | {"num_hidden_layers": 3})
    assert "lit_model.pth does not fit model_config.yaml: transformer.h.2." in refused(own)


def test_a_full_disk_is_no_fault_of_the_model(
    served: Hub, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "convert_hf_checkpoint", fails)
        with pytest.raises(OSError, match=r"No space left on device: .*lit_model\.pth"):
            fetched(own)
    assert (fetched(own) / "lit_model.pth").is_file()
    assert len(gets(served, WEIGHTS)) == 1  # what came was kept
