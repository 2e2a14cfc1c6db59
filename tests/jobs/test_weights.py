"""Whether GPUs hold a model: said by the job before it loads, and by `doctor` before there is a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jobs.attempt.failure import EvaluationFailed
from jobs.inputs import memory as weights
from jobs.model import sharding
from jobs.prepare.demo import Demo
from jobs.prepare.prepare import prepare
from jobs.processes.group import Group
from orchestrator.doctor.finding import Finding
from orchestrator.doctor.host import judged
from tests.fakes.scripted import study
from tests.jobs.attempts import litgpt

GIB = 2**30
CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("gib", "gpus", "in_shards", "words"),
    [
        (2.3, 1, None, ""),
        (28.0, 1, None, ""),
        (28.1, 1, None, "take 28.1 GiB, and the trial has 1 GPU of 40.0 GiB, of which they may take 70%"),
        (28.1, 4, None, ""),
        (28.1, 4, True, ""),
        (28.1, 4, False, "of which they may take 70%: leave `sharded = false` out"),
        (112.0, 4, None, ""),
        (113.0, 4, None, "take 113 GiB, and the trial has 4 GPUs of 40.0 GiB, .*: give the trial more GPUs"),
        (113.0, 4, False, "give the trial more GPUs in the profile, take a smaller model, or quantize it"),
    ],
)  # fmt: skip
def test_weights_may_take_seven_tenths(
    gib: float, gpus: int, in_shards: bool | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = weights.problem(gib * GIB, 40 * GIB, gpus, in_shards=in_shards)
    assert bool(said) == bool(words)
    memory = SimpleNamespace(total_memory=40 * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: memory)
    group = Group(0, gpus, CUDA)
    if words:
        with pytest.raises(EvaluationFailed, match=words):
            sharding.is_asked(in_shards, int(gib * GIB), CUDA, group)
    else:
        asked = sharding.is_asked(in_shards, int(gib * GIB), CUDA, group)
        assert asked == (gib > 28 if in_shards is None else in_shards)


@pytest.mark.parametrize(
    ("changes", "share"),
    [({}, 1.0), ({"precision": "bf16"}, 0.5), ({"precision": "bf16", "quantize": "nf4"}, 0.15)],
)
def test_what_they_will_take_is_known_from_the_file(
    base: Demo, cache: Path, changes: dict[str, Any], share: float
) -> None:
    evaluation = litgpt(base, **changes)
    prepared = prepare(evaluation, cache, lambda _: None)
    stored = torch.load(base.model / "lit_model.pth")
    expected = sum(tensor.numel() * tensor.element_size() for tensor in stored.values()) * share
    assert weights.expected_bytes(evaluation, prepared) == pytest.approx(expected)


def judgement(tmp_path: Path, base: Demo, gpu_bytes: int, **changes: Any) -> Finding:
    """Of `doctor --study --submit` on a host with four such GPUs."""
    spec, place = study(tmp_path, gpus=4)
    evaluation = litgpt(base, **changes)
    prepare(evaluation, place.cache_path, lambda _: None)
    gpus = [{"name": "A100", "memory_bytes": gpu_bytes}] * 4
    facts: Mapping[str, Any] = {
        "job": "7", "host": "n1", "exchanges": [], "storage": {}, "lock_is_seen": True, "python": "3",
        "versions": {}, "interpreter": "python", "devices": {"cuda": "13", "gpus": gpus}, "cores": 8,
        "temporary_free_bytes": 1e12, "memory_bytes": 1e12, "temporary": "/tmp", "reaches_hub": False,
        "environment": {},
    }  # fmt: skip
    found = list(judged(place, facts, 1.0, replace(spec, evaluation=evaluation)))
    [finding] = [one for one in found if one.what == "memory"]
    assert "memory" not in [one.what for one in judged(place, facts, 1.0)]
    return finding


def test_doctor_says_it_before_there_is_a_job(tmp_path: Path, base: Demo) -> None:
    size = (base.model / "lit_model.pth").stat().st_size
    assert judgement(tmp_path / "large", base, 2 * size).mark == "ok"
    assert judgement(tmp_path / "shards", base, size).mark == "ok"
    whole = judgement(tmp_path / "whole", base, size, sharded=False)
    assert (whole.mark, whole.remedy) == ("wrong", "leave `sharded = false` out of [evaluation]")
    small = judgement(tmp_path / "small", base, size // 4)
    assert (small.mark, small.remedy[:24]) == ("wrong", "give the trial more GPUs")
    assert "and the trial has 4 GPUs of" in small.says
