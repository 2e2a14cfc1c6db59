"""Several trials in one job: each has its share, and its end is nobody else's."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from jobs.pack import share
from jobs.prepare.demo import Demo
from jobs.prepare.prepare import prepare
from orchestrator.contract import Failure, Outcome
from tests.jobs.attempts import attempt, litgpt, log, result, run, shell
from tests.jobs.packs import leader_of, processes_of, start_pack, until

FOUR = range(4)
WRITE = 'printf \'{"loss": 1, "gpu": %s}\' "$CUDA_VISIBLE_DEVICES" >"$2"'


def attempts(tmp_path: Path, *scripts: str) -> list[Path]:
    return [
        attempt(tmp_path / f"trial-{place}", shell(script), trial=place, gpus=1, metrics=["loss"])
        for place, script in enumerate(scripts)
    ]


def test_each_has_a_gpu_of_its_own_and_a_result(tmp_path: Path) -> None:
    places = attempts(tmp_path, *[WRITE] * 4)
    pack = start_pack(places, CUDA_VISIBLE_DEVICES="4,5,6,7")
    assert pack.communicate(timeout=60)[1] == ""
    assert pack.returncode == 0
    assert [result(place).metrics["gpu"].value for place in places] == [4, 5, 6, 7]
    assert [result(place).trial for place in places] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("given", "gpus", "expected"),
    [
        ({}, 1, {"CUDA_VISIBLE_DEVICES": "1"}),
        ({}, 2, {"CUDA_VISIBLE_DEVICES": "2,3"}),
        ({"CUDA_VISIBLE_DEVICES": "6, 2,0,4"}, 2, {"CUDA_VISIBLE_DEVICES": "0,4"}),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a,MIG-b"}, 1, {"CUDA_VISIBLE_DEVICES": "MIG-b"}),
        ({"ROCR_VISIBLE_DEVICES": "0,1,2,3"}, 1, {"ROCR_VISIBLE_DEVICES": "1"}),
        (
            {"ROCR_VISIBLE_DEVICES": "4,5", "CUDA_VISIBLE_DEVICES": "0,1"},
            1,
            {"ROCR_VISIBLE_DEVICES": "5", "CUDA_VISIBLE_DEVICES": "1"},
        ),
        ({"CUDA_VISIBLE_DEVICES": ""}, 1, {"CUDA_VISIBLE_DEVICES": ""}),
    ],
)
def test_the_second_place_gets_the_second_slice(
    given: dict[str, str], gpus: int, expected: dict[str, str]
) -> None:
    assert share({"OTHER": "x", **given}, 1, gpus) == expected


def test_one_that_is_killed_fails_at_once_and_alone_and_leaves_nothing(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    wait = f"while [ ! -e '{gate}' ]; do sleep 0.05; done; {WRITE}"
    # A process in a session of its own, such as a data loader may have.
    places = attempts(tmp_path, "echo at work; setsid sleep 600 & touch begun; wait", wait, wait, wait)
    pack = start_pack(places)
    until((places[0] / "begun").exists, "the first to begin")
    until(lambda: len(processes_of(places[0])) >= 3, "evaluation, shell and sleep")
    leader_of(places[0]).kill()
    until((places[0] / "result.json").exists, "the result of the one that was killed")
    found = result(places[0])
    assert (found.outcome, found.failure) == (Outcome.FAILED, Failure.KILLED)
    assert "was killed by signal 9" in found.message
    assert "its log ends:" in found.message
    assert (found.trial, found.attempt) == (0, 2)
    assert processes_of(places[0]) == []
    assert pack.poll() is None
    assert all(len(processes_of(place)) >= 2 for place in places[1:])
    gate.touch()
    assert f"{places[0]}: the evaluation was killed by signal 9" in pack.communicate(timeout=60)[1]
    assert pack.returncode == 0
    assert [result(place).outcome for place in places[1:]] == [Outcome.OK] * 3
    assert processes_of(*places) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_what_the_job_is_told_all_are_told_and_no_result_is_made_up(
    tmp_path: Path, number: signal.Signals
) -> None:
    places = attempts(tmp_path, *["touch begun; sleep 600 & wait"] * 4)
    pack = start_pack(places)
    until(lambda: all((place / "begun").exists() for place in places), "all to begin")
    pack.send_signal(number)
    pack.communicate(timeout=60)
    assert pack.returncode == (143 if number is signal.SIGTERM else 0)
    assert [(place / "result.json").exists() for place in places] == [False] * 4
    assert all(f"{number.name}: ending" in log(place) for place in places)
    assert processes_of(*places) == []


def test_a_pack_that_is_killed_takes_its_trials_along(tmp_path: Path) -> None:
    places = attempts(tmp_path, *["touch begun; sleep 600 & wait"] * 2)
    pack = start_pack(places)
    until(lambda: all((place / "begun").exists() for place in places), "all to begin")
    pack.kill()
    pack.communicate(timeout=60)
    until(lambda: not processes_of(*places), "its processes to end")
    assert [(place / "result.json").exists() for place in places] == [False] * 2


def test_a_pack_that_runs_again_skips_what_is_done_and_what_is_another_jobs(tmp_path: Path) -> None:
    places = attempts(tmp_path, *["echo run >>again; " + WRITE] * 3)
    assert start_pack(places[:1]).wait(timeout=60) == 0
    first = (places[0] / "result.json").read_bytes()
    (places[1] / "claim.json").write_text(json.dumps({"job": None, "by": "master"}))
    pack = start_pack(places)
    assert f"{places[0] / 'result.json'} exists: nothing to do" in pack.communicate(timeout=60)[1]
    assert (places[0] / "result.json").read_bytes() == first
    assert not (places[1] / "result.json").exists()
    assert result(places[2]).outcome is Outcome.OK


def test_cores_are_dealt_out(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core cannot be shared")
    look = "import json, os, sys; json.dump({'loss': min(os.sched_getaffinity(0))}, open(sys.argv[2], 'w'))"
    scripts = [f'{sys.executable} -c "{look}" "$@"'] * 2
    places = attempts(tmp_path, *scripts)
    assert start_pack(places, 2).wait(timeout=60) == 0
    assert [result(p).metrics["loss"].value for p in places] == [cores[0], cores[len(cores) // 2]]


def test_of_four_language_models_in_one_job_one_is_killed_and_three_score_as_they_do_alone(
    tmp_path: Path, base: Demo, cache: Path
) -> None:
    evaluation = litgpt(base, steps=6)
    prepare(evaluation, cache, lambda _: None)
    here = {"ORCHESTRATOR_DEVICE": "cpu", "ORCHESTRATOR_PROCESSES": "1"}

    def assigned(name: str, place: int) -> Path:
        return attempt(
            tmp_path / name / str(place),
            evaluation.model_dump(mode="json"),
            configuration={"lora_rank": 4, "lora_alpha": 8, "learning_rate": 10.0 ** -(place + 1)},
            cache=str(cache),
            metrics=["val_loss"],
            trial=place,
            gpus=1,
        )

    packed = [assigned("packed", place) for place in FOUR]
    pack = start_pack(packed, **here)
    until((packed[2] / "claim.json").exists, "the third to begin")
    leader_of(packed[2]).kill()
    pack.communicate(timeout=120)
    assert pack.returncode == 0
    assert result(packed[2]).failure is Failure.KILLED
    for place in (0, 1, 3):
        alone = assigned("alone", place)
        assert run(alone, **here) == (0, ""), log(alone)
        together = result(packed[place])
        assert together.outcome is Outcome.OK, together.message
        drop = {"train_seconds"}
        metrics = [
            {n: m for n, m in one.metrics.items() if n not in drop} for one in (together, result(alone))
        ]
        assert metrics[0] == metrics[1]
        assert together.versions["adapter"] == result(alone).versions["adapter"]
