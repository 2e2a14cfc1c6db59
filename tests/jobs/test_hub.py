"""A model from a hub is whole and what the hub says it is, or it is not there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from jobs.checkpoints import from_hub, hub
from jobs.inputs.manifest import size_text
from jobs.model.lora import load
from orchestrator.errors import InputError
from tests.jobs.hub_models import NAME, TOKEN, WEIGHTS, fetched, gets, refused
from tests.jobs.hub_server import COMMIT, PAGE, Hub


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_plain_llama_is_fetched_and_computes_the_same(served: Hub, own: Path) -> None:
    from transformers import LlamaForCausalLM

    path = fetched(own)
    assert path == own / "models" / NAME
    assert {one.name for one in path.iterdir()} == {
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "model_config.yaml", "lit_model.pth", from_hub.ORIGIN,
    }  # fmt: skip
    origin = json.loads((path / from_hub.ORIGIN).read_text())
    assert (origin["repository"], origin["commit"]) == (NAME, COMMIT)
    assert list((own / "models").glob(".fetch-*")) == []
    ids = torch.randint(0, 320, (2, 40), generator=torch.Generator().manual_seed(1))
    net = load(path, None, (), precision="fp32", seed=0, device=torch.device("cpu")).eval()
    with torch.no_grad():
        theirs = LlamaForCausalLM.from_pretrained(served.folder, dtype=torch.float32)(ids).logits
        assert (net(ids) - theirs).abs().max() < 1e-5
    asked = len(served.seen)
    assert fetched(own) == path
    assert len(served.seen) == asked  # the hub is not asked again


@pytest.mark.parametrize("fault", ["page", "padded", "cut", "reset", "wrong"])
def test_what_goes_wrong_once_is_mended_at_once(served: Hub, own: Path, fault: str) -> None:
    served.faults = {WEIGHTS: [fault], "config.json": [fault]}
    assert (fetched(own) / "lit_model.pth").is_file()
    ranges = [line.partition("bytes=")[2] for line in gets(served, WEIGHTS)]
    assert len(ranges) == 2
    # What was cut is gone on from; what was wrong is not.
    assert bool(ranges[1]) == (fault in ("cut", "reset"))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("page", "as it came is not as long as was announced"),
        ("padded", "has another sha256 than the hub says"),
        ("cut", "RemoteProtocolError"),
        ("reset", "ReadError"),
        ("wrong", "has another sha256 than the hub says"),
        ("503", "the hub answered with status 503"),
    ],
)
def test_what_stays_wrong_leaves_nothing_and_a_later_prepare_succeeds(
    served: Hub, own: Path, fault: str, said: str
) -> None:
    served.faults = {WEIGHTS: [fault] * 9}
    assert said in refused(own)
    left = [path for path in own.rglob("*") if path.is_file()]
    assert not any(path.name in (WEIGHTS, "lit_model.pth") for path in left)
    assert not any(PAGE in path.read_bytes() for path in left)
    served.faults, served.seen = {}, []
    assert (fetched(own) / "lit_model.pth").is_file()
    if fault in ("cut", "reset"):
        assert gets(served, "config.json") == []
        assert "bytes=" in gets(served, WEIGHTS)[0]


def test_a_small_file_that_came_wrong_is_refused_by_gits_checksum(served: Hub, own: Path) -> None:
    served.listed = {"config.json": (served.folder / "config.json").read_bytes().replace(b"48", b"84")}
    assert "config.json as it came has another git-sha1" in refused(own)


@pytest.mark.parametrize(
    ("fault", "said"), [("page", "what answered is no hub"), ("503", "status 503"), ("404", "check the name")]
)
def test_a_listing_that_is_none_is_told(served: Hub, own: Path, fault: str, said: str) -> None:
    served.faults = {"api": [fault]}
    assert said in refused(own)


def test_what_a_dead_process_left_is_gone_on_from(served: Hub, own: Path) -> None:
    served.faults = {WEIGHTS: ["cut"] * 9}
    refused(own)
    (left,) = (own / "models").glob(".fetch-*")
    ended = subprocess.Popen(["true"])
    ended.wait()
    left.rename(left.with_name(f"{left.name.rpartition('.')[0]}.{ended.pid}"))
    served.faults, served.seen = {}, []
    fetched(own)
    assert "bytes=" in gets(served, WEIGHTS)[0]
    assert list((own / "models").glob(".fetch-*")) == []


def test_the_folder_of_a_living_process_is_left_alone(served: Hub, own: Path) -> None:
    at_work = from_hub._folder(cache_models(own), NAME).rename(
        own / "models" / f".fetch-someone--small-llama.{os.uname().nodename}.{os.getppid()}"
    )
    (at_work / WEIGHTS).write_text("half")
    fetched(own)
    assert (at_work / WEIGHTS).read_text() == "half"


def cache_models(own: Path) -> Path:
    (own / "models").mkdir(parents=True)
    return own / "models"


def test_the_first_to_be_whole_gets_the_name(served: Hub, own: Path) -> None:
    folder = from_hub._folder(cache_models(own), NAME)
    (folder / "mine").write_text("late")
    path = own / "models" / NAME
    path.mkdir(parents=True)
    (path / "theirs").write_text("first")
    from_hub._give_name(folder, path)
    assert [one.name for one in path.iterdir()] == ["theirs"]
    assert not folder.exists()


@pytest.mark.parametrize(("gated", "token"), [(True, TOKEN), (True, ""), (False, TOKEN), (False, "")])
def test_a_locked_door_is_told_with_the_key(
    served: Hub, own: Path, monkeypatch: pytest.MonkeyPatch, gated: bool, token: str
) -> None:
    served.token, served.gated = "another", gated
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/no/such/file")
    problem = refused(own)
    assert "accept its licence" in problem
    assert ("is gated" in problem) == gated
    assert f"{served.address}/{NAME}" in problem
    assert "HF_TOKEN" in problem
    assert ("none is set" in problem or "is not set" in problem) == (token == "")


def test_the_right_token_opens_and_is_written_nowhere(
    served: Hub, own: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    served.token, said = TOKEN, list[str]()
    from_hub.hub_checkpoint(NAME, own, said.append)
    written = "\n".join([*said, *capfd.readouterr(), caplog.text])
    assert TOKEN not in written
    assert not any(TOKEN.encode() in path.read_bytes() for path in own.rglob("*") if path.is_file())


def test_a_token_that_cannot_be_sent_is_not_repeated(
    served: Hub, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for token in (f"{TOKEN}\x7f", f"{TOKEN}é", f"{TOKEN}\n{TOKEN}"):
        monkeypatch.setenv("HF_TOKEN", token)
        served.token = "another"
        assert TOKEN not in refused(own)


def test_secrets_in_addresses_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    text = f"GET https://user:word@hub.org/x?X-Amz-Signature=abc&t={TOKEN} failed: Bearer {TOKEN}"
    assert hub.without_secrets(text) == "GET https://***@hub.org/x?*** failed: Bearer ***"
    assert TOKEN[:5] not in hub.said(ValueError("x" * 290 + TOKEN))


def test_too_little_space_is_told_before_anything_is_fetched(
    served: Hub, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    weights = (served.folder / WEIGHTS).stat().st_size
    problem = refused(own)
    assert "no space" in problem
    assert f"{size_text(weights)} to convert" in problem
    assert "1 kB are free" in problem
    assert gets(served, "resolve") == []


def test_a_repository_without_weights_is_refused(served: Hub, own: Path) -> None:
    (served.folder / WEIGHTS).rename(served.folder / "consolidated.safetensors")
    assert "holds no weights" in refused(own)


@pytest.mark.parametrize("name", ["nobody/nothing", "../../etc", "a b", "someone"])
def test_a_name_that_is_none_is_told(served: Hub, own: Path, name: str) -> None:
    fetched(own)
    with pytest.raises(InputError) as raised:
        fetched(own, name)
    assert name in str(raised.value)
