"""One small model for all tests of this folder, made once, and what was prepared of it."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.attempt.measured import OFFLINE
from jobs.inputs import Prepared
from jobs.prepare import demo, offline
from jobs.prepare.prepare import prepare
from orchestrator.contract import LitGPTEvaluation
from tests.jobs.attempts import litgpt
from tests.jobs.hub_server import Hub, hub

os.environ.update(OFFLINE)  # no test asks the network, and the libraries read this when they are imported
SMALL = demo.Shape(width=32, layers=2, vocabulary=320, lessons=600, steps=10, batch_size=8)


@pytest.fixture(scope="session", autouse=True)
def _proof_in_this_process() -> Iterator[None]:
    """Everything is loaded as the proof does it, without the seconds that a process of its own takes."""

    def prove(evaluation: LitGPTEvaluation, prepared: Prepared, cache: Path) -> Prepared:
        return prepared.model_copy(update={"tasks": offline.loaded(evaluation, prepared, cache)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offline, "prove", prove)
        yield


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def base(cache: Path) -> demo.Demo:
    """A model that knows nothing, quickly made, with data and a task."""
    import torch

    torch.set_num_threads(1)
    return demo.build(cache, lambda _: None, SMALL)


@pytest.fixture(scope="session")
def far_reading(base: demo.Demo, tmp_path_factory: pytest.TempPathFactory) -> demo.Demo:
    """The tests' model with room for a prompt beside the 1024 tokens that HumanEval has written."""
    model = shutil.copytree(base.model, tmp_path_factory.mktemp("far") / "far-reading")
    config = model / "model_config.yaml"
    text = config.read_text()
    assert "block_size: 256" in text
    config.write_text(text.replace("block_size: 256", "block_size: 2048"))
    return dataclasses.replace(base, model=model)


@pytest.fixture(scope="session")
def evaluation(base: demo.Demo) -> LitGPTEvaluation:
    return litgpt(base)


@pytest.fixture(scope="session")
def prepared(evaluation: LitGPTEvaluation, cache: Path) -> Prepared:
    return prepare(evaluation, cache, lambda _: None)


@pytest.fixture(scope="session")
def original(base: demo.Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama as Hugging Face's library saves one, with the tokenizer of the tests' model."""
    from tests.jobs.hub_models import saved

    folder = tmp_path_factory.mktemp("original")
    saved(folder, base)
    (folder / "README.md").write_text("not fetched")
    return folder


@pytest.fixture
def served(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    import huggingface_hub
    from huggingface_hub import constants

    from tests.jobs.hub_models import NAME, TOKEN

    folder = shutil.copytree(original, tmp_path / "served")
    with hub(NAME, folder) as one:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
        monkeypatch.setattr("gc.collect", lambda: 0)  # most of the seconds of a small conversion
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 120)  # machines may be busy
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)  # 10 MB: what is kept of a part
        for name, value in {"HF_ENDPOINT": one.address, "HF_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1"}.items():
            monkeypatch.setenv(name, value)
        huggingface_hub.close_session()
        yield one
        huggingface_hub.close_session()
