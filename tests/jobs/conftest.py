"""One small model for all tests of this folder, made once, and what was prepared of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs import demo
from jobs.evaluate import OFFLINE
from jobs.prepare import prepare
from jobs.prepared import Prepared
from orchestrator.evaluation import LitGPTEvaluation
from tests.jobs.attempts import litgpt

os.environ.update(OFFLINE)  # no test asks the network, and the libraries read this when they are imported
SMALL = demo.Shape(width=32, layers=2, vocabulary=320, lessons=600, steps=10, batch_size=8)


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
def evaluation(base: demo.Demo) -> LitGPTEvaluation:
    return litgpt(base)


@pytest.fixture(scope="session")
def prepared(evaluation: LitGPTEvaluation, cache: Path) -> Prepared:
    return prepare(evaluation, cache, lambda _: None)
