"""A training that goes on from where a shorter one ended comes to the bits of one that was never cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from jobs import evaluate as job
from jobs.attempt.interruption import Interrupted
from jobs.attempt.measured import Measured
from jobs.attempt.stages import Stages
from jobs.inputs import lineage, require_prepared
from jobs.inputs.lineage import obstacles
from jobs.prepare.demo import Demo
from jobs.prepare.prepare import prepare
from jobs.training import finetune
from orchestrator.contract import Assignment, LitGPTEvaluation
from orchestrator.contract.assignment import Configuration
from tests.jobs.attempts import attempt, litgpt, result, run
from tests.jobs.test_interrupted import At

LORA: Configuration = {"lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2, "lora_dropout": 0.2}
ALIKE: dict[str, Any] = {"schedule": "constant", "warmup_fraction": 0.0, "order": "fixed", "tasks": []}
WHOLE: dict[str, Any] = {"steps": None, "epochs": 1.0, **ALIKE}  # 192 samples, 24 steps


class Given(NamedTuple):
    base: Demo
    cache: Path


@pytest.fixture(scope="module")
def given(base: Demo, cache: Path) -> Given:
    return Given(base, cache)


def evaluation(given: Given, **changes: Any) -> LitGPTEvaluation:
    found = litgpt(given.base, **{**WHOLE, **changes})
    prepare(found, given.cache, lambda _: None)
    return found


def measured(
    directory: Path,
    given: Given,
    *,
    goes_on_from: Path | None = None,
    configuration: Configuration = LORA,
    seed: int = 11,
    stages: Stages | None = None,
    **changes: Any,
) -> Measured:
    attempt(
        directory,
        evaluation(given, **changes).model_dump(mode="json"),
        configuration=configuration,
        seed=seed,
        cache=str(given.cache),
        goes_on_from=None if goes_on_from is None else str(adapter(goes_on_from)),
    )
    assignment = Assignment.model_validate_json((directory / "trial.json").read_bytes())
    return job.measure(assignment, directory, stages or Stages())


def adapter(directory: Path) -> Path:
    return directory / "checkpoint" / "adapter.pth"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, given: Given) -> Measured:
    return measured(tmp_path_factory.mktemp("whole"), given)


@pytest.fixture(scope="module")
def quarter(tmp_path_factory: pytest.TempPathFactory, given: Given) -> Path:
    directory = tmp_path_factory.mktemp("quarter")
    measured(directory, given, fidelity=0.25)
    return directory


def assert_equal(found: Measured, expected: Measured) -> None:
    for name in ("adapter", "training"):
        assert found.versions[name] == expected.versions[name]
    for name in ("train_loss", "val_loss"):
        assert found.metrics[name] == expected.metrics[name]


def test_a_longer_training_goes_on_from_a_shorter_one(
    tmp_path: Path,
    given: Given,
    whole: Measured,
    quarter: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken, advance = list[int](), finetune._Training.advance

    def counted(training: Any, batch: Any) -> float:
        taken.append(training.step)
        return advance(training, batch)

    monkeypatch.setattr(finetune._Training, "advance", counted)
    stages = Stages()
    found = measured(tmp_path, given, goes_on_from=quarter, stages=stages)
    assert taken == list(range(6, 24))
    assert_equal(found, whole)
    assert stages.trained == 1.0


def test_two_processes_go_on_together(tmp_path: Path, given: Given) -> None:
    for name, fidelity in {"quarter": 0.25, "straight": 1.0, "whole": 1.0}.items():
        directory = attempt(
            tmp_path / name,
            evaluation(given, fidelity=fidelity).model_dump(mode="json"),
            configuration=LORA,
            cache=str(given.cache),
            goes_on_from=str(adapter(tmp_path / "quarter")) if name == "whole" else None,
        )
        assert run(directory, ORCHESTRATOR_PROCESSES="2") == (0, "")
    straight, found = result(tmp_path / "straight"), result(tmp_path / "whole")
    logs = [path.read_text() for path in (tmp_path / "whole" / "ranks").glob("*.log")]
    assert len(logs) == 2
    assert sum("goes on after step 6 of 24" in text for text in logs) == 1  # the leader reads it
    assert found.versions["adapter"] == straight.versions["adapter"]
    for name in ("train_loss", "val_loss"):
        assert found.metrics[name] == straight.metrics[name]


def test_over_several_lengths(tmp_path: Path, given: Given, whole: Measured) -> None:
    """Of unequal kinds, too: a share of the samples, a number of steps, other tasks and documents."""
    lengths: list[dict[str, Any]] = [
        {"fidelity": 0.1},
        {"fidelity": 0.9, "epochs": None, "steps": 8},
        {"fidelity": 0.99, "score_fidelity": 0.5, "val_documents": 7},
        {},
    ]
    before = None
    for number, length in enumerate(lengths):
        found = measured(tmp_path / str(number), given, goes_on_from=before, **length)
        before = tmp_path / str(number)
    assert_equal(found, whole)
    steps = [torch.load(adapter(tmp_path / str(number)))["step"] for number in range(4)]
    assert steps == [2, 7, 23, 24]


def test_a_longer_one_may_see_its_samples_more_than_once(
    tmp_path: Path, given: Given, quarter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight = measured(tmp_path / "a", given, epochs=1.5)
    found = measured(tmp_path / "b", given, epochs=1.5, goes_on_from=quarter)
    assert "goes on after step 6 of 36" in capsys.readouterr().out
    assert found.versions["adapter"] == straight.versions["adapter"]
    assert "training" not in found.versions  # a still longer one would not see them in this order
    assert set(torch.load(adapter(tmp_path / "b"))) == {"adapter", "trained", "key", "lineage"}


def test_an_interruption_in_between_changes_no_bit(
    tmp_path: Path,
    given: Given,
    whole: Measured,
    quarter: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Interrupted):
        measured(tmp_path, given, goes_on_from=quarter, stages=Stages(interruption=At(8)))
    found = measured(tmp_path, given, goes_on_from=quarter)
    assert "goes on after step 9 of 24" in capsys.readouterr().out
    assert_equal(found, whole)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 12},
        {"configuration": {**LORA, "lora_dropout": 0.1}},
        {"max_length": 100},
        {"mask_prompt": True},
        {"lora_layers": ["query"]},
    ],
)
def test_another_training_is_not_gone_on_from(
    tmp_path: Path, given: Given, changed: Any, whole: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(tmp_path / "a", given, fidelity=0.25, **changed)
    found = measured(tmp_path / "b", given, goes_on_from=tmp_path / "a")
    said = capsys.readouterr().out
    assert f"{adapter(tmp_path / 'a')} is not used: it is of another training" in said
    assert "goes on after" not in said
    assert_equal(found, whole)


def test_a_longer_one_is_not_gone_on_from(
    tmp_path: Path, given: Given, quarter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight = measured(tmp_path / "a", given, fidelity=0.1)
    lengths: dict[str, Any] = {"b": {"fidelity": 0.1}, "c": {"fidelity": 0.1, "epochs": 3.0}}
    for name, length in lengths.items():
        found = measured(tmp_path / name, given, goes_on_from=quarter, **length)
        said = capsys.readouterr().out
        assert "it is 6 steps long, and no more than 2 are this training's too" in said
        if name == "b":
            assert_equal(found, straight)


@pytest.mark.parametrize("damage", ["torn", "gone", "no end"])
def test_what_cannot_be_gone_on_from_costs_only_time(
    tmp_path: Path, given: Given, whole: Measured, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(tmp_path / "a", given, fidelity=0.25)
    file = adapter(tmp_path / "a")
    content = torch.load(file)
    file.write_bytes(file.read_bytes()[:2000])
    if damage == "gone":
        file.unlink()
    if damage == "no end":  # as an evaluation of other words leaves it
        torch.save({"adapter": content["adapter"], "key": content["key"], "trained": {}}, file)
    found = measured(tmp_path / "b", given, goes_on_from=tmp_path / "a")
    assert f"{file} is not used: " in capsys.readouterr().out
    assert_equal(found, whole)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"order": "shuffled"}, 'order = "shuffled"'),
        ({"schedule": "cosine"}, 'schedule = "cosine"'),
        ({"warmup_fraction": 0.1}, "warmup_fraction = 0.1"),
    ],
)
def test_a_training_whose_length_decides_its_first_steps_leaves_nothing_to_go_on_from(
    tmp_path: Path, given: Given, changed: Any, why: str
) -> None:
    found = measured(tmp_path, given, fidelity=0.25, **changed)
    assert "training" not in found.versions
    assert "optimizer" not in torch.load(adapter(tmp_path))
    [obstacle] = obstacles(evaluation(given, **changed), LORA)
    assert obstacle.startswith(why)


def test_a_configuration_may_have_its_own_warm_up(given: Given) -> None:
    plain, warm = evaluation(given), evaluation(given, warmup_fraction=0.1)
    assert obstacles(plain, {**LORA, "warmup_fraction": 0.05})
    assert not obstacles(warm, {**LORA, "warmup_fraction": 0.0})


def test_the_lineage_is_that_of_the_first_steps(given: Given) -> None:
    def of(configuration: Configuration = LORA, seed: int = 1, **changes: Any) -> str | None:
        wanted = evaluation(given, **changes)
        return lineage(wanted, configuration, seed, require_prepared(wanted, given.cache))

    alike = {
        of(),
        of(fidelity=0.3),
        of(epochs=None, steps=3),
        of({**LORA, "epochs": 2.0}),
        of(score_fidelity=0.5, val_documents=3),
        of(tasks=[{"name": "kinds", "file": str(given.base.task)}]),
    }
    assert len(alike) == 1
    others = [
        of(seed=2),
        of({**LORA, "batch_size": 4}),
        of(batch_size=4),
        of(micro_batch_size=2),
        of(precision="bf16"),
        of(val_data=None),  # others are held out
        of(prompt_style="flan"),
        None,
    ]
    assert len({*alike, *others}) == len(others) + 1


def test_a_fixed_order_takes_whole_batches_of_one_pass(tmp_path: Path, given: Given) -> None:
    found = measured(tmp_path / "a", given, fidelity=0.15)  # 29 samples, 3.6 batches of 8
    assert found.versions["training"]
    assert torch.load(adapter(tmp_path / "a"))["step"] == 3
    found = measured(tmp_path / "b", given, fidelity=0.03)  # 6 samples: less than one batch
    assert "training" not in found.versions
