"""What is prepared is loaded without a network before it counts as prepared; test_hub does it all once."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import datasets
import pytest

from jobs.inputs import Prepared, require_prepared
from jobs.inputs.manifest import PreparedTask, manifest_path
from jobs.prepare import offline, rehearsal, stock_task
from jobs.prepare.demo import Demo
from jobs.prepare.offline import environment, prove
from jobs.prepare.prepare import prepare
from jobs.tasks import suites
from orchestrator.contract import LitGPTEvaluation
from orchestrator.contract.evaluation import StockTask
from orchestrator.errors import InputError
from tests.jobs.attempts import ROOT, litgpt
from tests.jobs.attempts import environment as of_tests

TOKEN = "hf_recognisable0123456789"


def test_what_is_missing_is_told_of_everything_at_once(
    evaluation: LitGPTEvaluation, prepared: Prepared, cache: Path
) -> None:
    gone = prepared.train.model_copy(update={"sha256": "0" * 64})
    stock = PreparedTask(name="arc_easy", folders=("arc",))
    spoiled = prepared.model_copy(update={"train": gone, "tasks": (*prepared.tasks, stock)})
    more = evaluation.model_copy(update={"tasks": (*evaluation.tasks, StockTask(name="arc_easy"))})
    with pytest.raises(InputError) as raised:
        offline.loaded(more, spoiled, cache)
    damaged, unloadable = raised.value.problems
    assert "is damaged" in damaged
    assert "tasks: 'arc_easy': cannot be loaded without a network" in unloadable


def test_what_the_process_found_wrong_is_told(
    evaluation: LitGPTEvaluation, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("""#!/bin/sh\nprintf '{"problems": ["one", "two"]}' > "$3"\n""")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(InputError) as raised:
        prove(evaluation, prepared, tmp_path)
    assert raised.value.problems == ("one", "two")


def test_the_process_has_neither_token_nor_way_out(cache: Path) -> None:
    given = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://hub", "NO_PROXY": "*", "PATH": "/bin"}
    made = environment(given, cache)
    assert TOKEN not in made.values()
    assert "HF_ENDPOINT" not in made
    assert "NO_PROXY" not in made
    assert made["HF_HUB_OFFLINE"] == made["HF_DATASETS_OFFLINE"] == made["TRANSFORMERS_OFFLINE"] == "1"
    assert made["HF_DATASETS_CACHE"].startswith(str(cache))
    assert made["https_proxy"] == "http://127.0.0.1:9"
    assert made["PATH"] == "/bin"


REFUSAL = """
    import socket, sys
    from jobs.prepare import offline
    sys.addaudithook(offline._refuse_the_network)
    server = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(server.getsockname()).close()
    socket.create_connection(("localhost", server.getsockname()[1])).close()
    for reach in (
        lambda: socket.create_connection(("198.51.100.1", 80), timeout=5),
        lambda: socket.getaddrinfo("huggingface.co", 443),
        lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
    ):
        try:
            reach()
        except OSError as error:
            print(error.strerror)
    print(offline._refused)
"""


def test_only_this_host_can_be_reached_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(REFUSAL)],
        capture_output=True, text=True, check=True, cwd=ROOT, env=of_tests(),
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert said[:3] == [
        f"{host}: hosts have no network" for host in ("198.51.100.1", "huggingface.co", "2001:db8::1")
    ]
    assert said[3] == "['198.51.100.1', 'huggingface.co', '2001:db8::1']"


def test_nothing_is_published_that_was_not_proven(
    base: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Prepared:
        raise InputError("not there without a network")

    with monkeypatch.context() as patch:
        patch.setattr(offline, "prove", fails)
        with pytest.raises(InputError, match="not there without"):
            prepare(litgpt(base), tmp_path, lambda _: None)
    assert not manifest_path(litgpt(base), tmp_path).exists()
    said: list[str] = []
    prepared = prepare(litgpt(base), tmp_path, said.append)
    text = "\n".join(said)
    for path in (prepared.model, prepared.train.path, prepared.val.path, str(tmp_path / "tokens")):
        assert f"B  {path}" in text
    monkeypatch.setattr(offline, "prove", fails)
    assert prepare(litgpt(base), tmp_path, lambda _: None) == prepared  # not proven again
    with pytest.raises(InputError, match="not there without"):
        prepare(litgpt(base, max_length=64), tmp_path, lambda _: None)  # other tokens


def test_a_process_that_dies_is_told(
    evaluation: LitGPTEvaluation, prepared: Prepared, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(InputError, match="without a network ended with status 1"):
        prove(evaluation, prepared, cache)


# -- tasks that lm-eval ships -------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in files, which every task of lm-eval gets for its own."""
    rows = [
        {"id": str(n), "question": f"which {n}?", "choices": {"text": ["a", "b"], "label": ["A", "B"]},
         "answerKey": "A"} for n in range(5)
    ]  # fmt: skip
    for split in ("train", "validation", "test"):
        datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "stored" / split)
    whole = datasets.DatasetDict(
        {split: datasets.load_from_disk(tmp_path / "stored" / split) for split in ("validation", "test")}
        | {"train": datasets.load_from_disk(tmp_path / "stored" / "train")}
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda **_: whole)
    monkeypatch.setattr(stock_task, "stock_folders", lambda _: ["arc"])  # seconds of looking through all
    return tmp_path / "stored"


def test_a_stock_tasks_files_and_metrics_are_known(base: Demo, stored: Path, tmp_path: Path) -> None:
    evaluation = litgpt(base, tasks=[{"name": "arc_easy"}])
    (task,) = prepare(evaluation, tmp_path / "cache", lambda _: None).tasks
    assert task.metrics == ("arc_easy/acc", "arc_easy/acc_norm")
    assert len(task.data) == 3
    assert all(mark.path.startswith(str(stored)) for mark in task.data)
    shutil.rmtree(stored / "train")
    with pytest.raises(InputError, match=r"train/data.*run `orchestrator prepare"):
        require_prepared(evaluation, tmp_path / "cache")


def test_a_data_set_that_cannot_be_fetched_is_one_line(
    base: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page(**_: Any) -> Any:
        raise ConnectionError("https://user:word@hub/x?sig=1: <html>\n503\n</html>")

    monkeypatch.setattr(datasets, "load_dataset", page)
    monkeypatch.setattr(stock_task, "stock_folders", lambda _: ["arc"])
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(InputError) as raised:
        prepare(litgpt(base, tasks=[{"name": "arc_easy"}]), tmp_path / "cache", lambda _: None)
    (problem,) = raised.value.problems
    assert "\n" not in problem
    assert "its data set could not be fetched: ConnectionError" in problem
    assert "user:word" not in problem
    assert "sig=1" not in problem
    assert "check the network" in problem

    def gated(**_: Any) -> Any:
        raise PermissionError(f"Dataset is a gated dataset, {TOKEN} may not read it")

    monkeypatch.setattr(datasets, "load_dataset", gated)
    with pytest.raises(InputError, match=r"accept its licence .* and set HF_TOKEN") as raised:
        prepare(litgpt(base, tasks=[{"name": "arc_easy"}]), tmp_path / "cache", lambda _: None)
    assert TOKEN not in str(raised.value)


def test_a_metric_that_cannot_be_known_is_no_reason_to_refuse(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = suites.stock_suite(StockTask(name="arc_easy"), ["arc"])

    def fails(*_: Any, **__: Any) -> Any:
        raise ValueError("an answer that is none")

    for task in suite.loaded["tasks"].values():
        monkeypatch.setattr(task, "process_results", fails)
    assert rehearsal.metrics(suite, reads=99) == ()
    with pytest.raises(ValueError, match="an answer that is none"):
        rehearsal.metrics(suite, reads=99, refused=lambda: True)  # it wanted the network for it
