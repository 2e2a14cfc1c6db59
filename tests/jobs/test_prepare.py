"""What is prepared is whole and frozen; what cannot be is told all at once."""

from __future__ import annotations

import fcntl
import json
import shutil
import threading
from pathlib import Path

import pytest

from jobs.inputs import Prepared, require_prepared
from jobs.inputs.manifest import freeze, manifest_path, thaw
from jobs.prepare.demo import Demo
from jobs.prepare.prepare import prepare
from orchestrator.contract import LitGPTEvaluation
from orchestrator.errors import InputError
from tests.jobs.attempts import litgpt


@pytest.fixture
def own(base: Demo, tmp_path: Path) -> Demo:
    """A copy of the base that a test may spoil."""
    for path in (base.train, base.val, base.task):
        shutil.copy(path, tmp_path)
    shutil.copytree(base.model, tmp_path / "model")
    return Demo(tmp_path / "model", *(tmp_path / path.name for path in (base.train, base.val, base.task)))


def told(evaluation: LitGPTEvaluation, cache: Path) -> list[str]:
    with pytest.raises(InputError) as raised:
        prepare(evaluation, cache, lambda _: None)
    return list(raised.value.problems)


def test_the_second_time_does_nothing_and_finds_the_same(own: Demo, tmp_path: Path) -> None:
    evaluation, said = litgpt(own), list[str]()
    first = prepare(evaluation, tmp_path / "cache", said.append)
    assert any("192 instructions to train on, 96 held out" in line for line in said)
    said.clear()
    assert prepare(evaluation, tmp_path / "cache", said.append) == first
    assert said == []  # nothing was read again
    assert require_prepared(evaluation, tmp_path / "cache") == first


def test_a_cache_that_cannot_be_is_the_users_to_mend(own: Demo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    (problem,) = told(litgpt(own), tmp_path / "file" / "cache")
    assert problem.endswith("cannot be made (Not a directory): correct shared_dir in the profile")


def test_a_second_one_waits_for_the_first(own: Demo, tmp_path: Path) -> None:
    cache, said, waits = tmp_path / "cache", list[str](), threading.Event()
    cache.mkdir()

    def report(line: str) -> None:
        said.append(line)
        waits.set()

    with (cache / "prepare.lock").open("a") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = threading.Thread(target=prepare, args=(litgpt(own), cache, report))
        second.start()
        assert waits.wait(60)
        second.join(0.5)  # it would have gone on by now
        assert said == [f"another `prepare` is at work in {cache}: waiting for it"]
        assert not manifest_path(litgpt(own), cache).exists()
    second.join(60)
    assert require_prepared(litgpt(own), cache)


def test_all_problems_are_told_at_once(own: Demo, tmp_path: Path) -> None:
    (own.model / "lit_model.pth").unlink()
    own.train.write_text('[{"instruction": "a"}]')
    own.task.write_text('{"query": "q", "choices": ["a", "b"], "label": 2}\n{"query": "q"}\n')
    problems = "\n".join(told(litgpt(own), tmp_path / "cache"))
    assert "lacks lit_model.pth" in problems
    assert "entry 1: has no text under 'output'" in problems
    assert "item 1: 'label' is 2, not the index of a choice in 0..1" in problems
    assert "item 2: has no 'choices', 'label'" in problems
    assert not (tmp_path / "cache" / "prepared").exists()


@pytest.mark.parametrize("what", ["model", "data", "val_data"])
def test_what_is_not_there_is_named(own: Demo, tmp_path: Path, what: str) -> None:
    (problem,) = told(litgpt(own, **{what: "/no/such/thing"}), tmp_path / "cache")
    assert "/no/such/thing" in problem
    assert "no such" in problem


def test_a_tokenizer_of_another_model_is_found(own: Demo, tmp_path: Path) -> None:
    content = json.loads((own.model / "tokenizer.json").read_text())
    content["model"]["vocab"] |= {f"new{i}": 320 + i for i in range(9)}
    (own.model / "tokenizer.json").write_text(json.dumps(content))
    (problem,) = told(litgpt(own), tmp_path / "cache")
    assert "329 tokens and the model 320" in problem


def test_weights_of_another_model_are_found(own: Demo, tmp_path: Path) -> None:
    path = own.model / "model_config.yaml"
    right = path.read_text()
    path.write_text(right.replace("n_layer: 2", "n_layer: 3"))
    (problem,) = told(litgpt(own), tmp_path / "cache")
    assert "does not fit model_config.yaml: transformer.h.2." in problem
    path.write_text("n_layer: [")
    assert "cannot be loaded" in told(litgpt(own), tmp_path / "cache")[0]
    (own.model / "lit_model.pth").write_text("<html>503</html>")
    path.write_text(right)
    assert "is no PyTorch checkpoint" in "\n".join(told(litgpt(own), tmp_path / "cache"))


def test_settings_are_checked_against_the_model(own: Demo, tmp_path: Path) -> None:
    problems = "\n".join(told(litgpt(own, max_length=4096, prompt_style="alpacca"), tmp_path / "cache"))
    assert "reads 256 tokens at most" in problems
    assert "'alpacca' is unknown" in problems


def test_a_model_that_cannot_be_fetched_is_the_users_to_mend(own: Demo, tmp_path: Path) -> None:
    (problem,) = told(litgpt(own, model="EleutherAI/pythia-14m"), tmp_path / "cache")  # offline in tests
    assert "could not be fetched: the environment says to stay offline: unset HF_HUB_OFFLINE" in problem
    assert not (tmp_path / "cache" / "models").exists()


def test_a_task_that_lm_eval_lacks_is_refused(own: Demo, tmp_path: Path) -> None:
    (problem,) = told(litgpt(own, tasks=[{"name": "helaswag"}]), tmp_path / "cache")
    assert "lm-eval ships no task of this name: did you mean one of hellaswag" in problem


def test_editing_the_data_changes_no_study(own: Demo, tmp_path: Path) -> None:
    cache, evaluation = tmp_path / "cache", litgpt(own)
    prepared = prepare(evaluation, cache, lambda _: None)
    before = thaw(prepared.train)
    own.train.write_text(json.dumps([{"instruction": "new", "output": "new"}] * 3))
    with pytest.raises(
        InputError, match=r"train\.json is not the file that was prepared: run `orchestrator prepare"
    ):
        require_prepared(evaluation, cache)
    own.task.unlink()
    assert thaw(require_prepared(evaluation, cache, sources=False).train) == before
    shutil.copy(tmp_path / "val.json", own.train)
    own.task.write_text('{"query": "q", "choices": ["a", "b"], "label": 1}\n')
    again = prepare(evaluation, cache, lambda _: None)
    assert again.digest != prepared.digest
    assert thaw(prepared.train) == before  # what a running study reads is still there


def test_what_the_cache_lost_is_missed(own: Demo, tmp_path: Path) -> None:
    cache, evaluation = tmp_path / "cache", litgpt(own)
    with pytest.raises(InputError, match=r"not prepared .*: run `orchestrator prepare STUDY`"):
        require_prepared(evaluation, cache)
    prepared = prepare(evaluation, cache, lambda _: None)
    Path(prepared.val.path).unlink()
    with pytest.raises(InputError, match="is gone from the cache"):
        require_prepared(evaluation, cache)
    assert prepare(evaluation, cache, lambda _: None) == prepared
    (own.model / "lit_model.pth").touch()
    with pytest.raises(InputError, match="is not the file that was prepared"):
        require_prepared(evaluation, cache, sources=False)
    manifest_path(evaluation, cache).write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        require_prepared(evaluation, cache)


def test_a_damaged_copy_is_not_used(tmp_path: Path) -> None:
    frozen = freeze([1, 2], tmp_path)
    assert thaw(frozen) == [1, 2]
    Path(frozen.path).write_text("1\n3\n")
    with pytest.raises(InputError, match="is damaged"):
        thaw(frozen)


def test_the_training_settings_need_no_new_preparation(own: Demo, tmp_path: Path, prepared: Prepared) -> None:
    cache = tmp_path / "cache"
    prepare(litgpt(own), cache, lambda _: None)
    assert require_prepared(litgpt(own, steps=9, batch_size=2, fidelity=0.5), cache)
    with pytest.raises(InputError):
        require_prepared(litgpt(own, val_data=None), cache)
