"""A study goes on with the best of one that trained less: with real trainings, by the commands of a user."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jobs.prepare.demo import Demo
from jobs.prepare.prepare import prepare
from orchestrator.config import StudySpec
from orchestrator.contract import Assignment
from orchestrator.errors import InputError
from orchestrator.preflight import read_checked_study
from orchestrator.preflight.promotion import with_promoted
from orchestrator.record import History, RunDirectory, Trial
from orchestrator.record.ledger import read
from tests.fakes.studies import orchestrator, run_study, write_profile
from tests.jobs import attempts

STUDY = """\
name = "{name}"
seed = {seed}
{head}
[budget]
evaluations = {evaluations}
[algorithm]
name = "random"
[objective]
metric = "val_loss"
direction = "minimize"
[space]
learning_rate = {{ type = "float", low = {low}, high = 3e-2, log = true }}
lora_rank = {{ type = "int", low = 2, high = 8 }}
lora_alpha = 16
lora_dropout = 0.1
{space}
[evaluation]
kind = "litgpt"
model = "{base.model}"
data = "{base.train}"
val_data = "{base.val}"
precision = "fp32"
max_length = {max_length}
batch_size = 8
order = "{order}"
schedule = "{schedule}"
warmup_fraction = {warmup}
epochs = {epochs}
fidelity = {fidelity}
val_documents = {val_documents}
"""
PLAIN: dict[str, Any] = {
    "name": "whole",
    "seed": 8,
    "head": 'promote = "runs/tenth"',
    "evaluations": 3,
    "low": 1e-4,
    "space": "",
    "max_length": 128,
    "order": "fixed",
    "schedule": "constant",
    "warmup": 0.0,
    "epochs": 1.0,
    "fidelity": 1.0,
    "val_documents": 24,
}
TENTH = {"name": "tenth", "seed": 7, "head": "keep_adapters = 2", "fidelity": 0.1, "val_documents": 8}


class Site(NamedTuple):
    """A shared directory with its profile, and the run of the cheap study there."""

    shared: Path
    base: Demo

    @property
    def tenth(self) -> RunDirectory:
        return RunDirectory(self.shared / "runs" / "tenth")

    def write(self, **changes: Any) -> Path:
        content = {**PLAIN, **changes}
        path = self.shared / f"{content['name']}.toml"
        path.write_text(STUDY.format(**content, base=self.base))
        return path

    def read(self, **changes: Any) -> StudySpec:
        """A study, prepared."""
        spec = read_checked_study(self.write(**changes))
        assert spec.evaluation.kind == "litgpt"
        prepare(spec.evaluation, self.shared / "cache", lambda _: None)
        return spec

    def refusal(self, **changes: Any) -> list[str]:
        with pytest.raises(InputError) as refused:
            with_promoted(self.read(**changes), self.shared / "cache")
        return list(refused.value.problems)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, base: Demo) -> Site:
    found = Site(tmp_path_factory.mktemp("site"), base)
    profile = write_profile(found.shared)
    study = found.write(**TENTH)
    done = orchestrator("prepare", study, "--profile", profile, cwd=found.shared)
    assert done.returncode == 0, done.stderr
    run = run_study(found.shared, study)
    assert run.code == 0, run.errors
    return found


@pytest.fixture
def copied(site: Site, tmp_path: Path) -> Site:
    """A site whose run a test may harm."""
    shutil.copytree(site.shared, tmp_path / "site")
    write_profile(tmp_path / "site")
    return Site(tmp_path / "site", site.base)


def history(run: RunDirectory) -> History:
    return History.replay(read(run.ledger))


def ranked(found: History) -> list[Trial]:
    trials = [t for t in found.trials if t.evaluation is not None and t.evaluation.failure is None]
    return sorted(trials, key=lambda t: t.evaluation.metrics["val_loss"].value if t.evaluation else 0.0)


def test_the_best_go_on_and_score_as_if_they_had_never_stopped(site: Site, tmp_path: Path) -> None:
    study = site.write(evaluations=3)
    checked = orchestrator("check", study, "--profile", site.shared / "profile.toml", cwd=site.shared)
    best = ranked(history(site.tenth))[:2]
    line = f"goes on with trials {best[0].number}, {best[1].number} of {site.tenth.path}"
    assert line in " ".join(checked.stdout.split()), checked.stderr
    run = run_study(site.shared, study)
    assert run.code == 0, run.errors
    assert line in " ".join(run.output.split())
    trials = run.history.trials
    assert [t.configuration for t in trials[:2]] == [t.configuration for t in best]
    assert len(trials) == 3
    for trial in trials:
        attempt = RunDirectory(run.path).attempt(trial.number, 1)
        assignment = json.loads((attempt / "trial.json").read_text())
        said = (attempt / "log.out").read_text()
        assert ("goes on after step 2 of 24" in said) == (trial.number < 2)
        if trial.number == 2:
            assert assignment["goes_on_from"] is None
            continue
        assert assignment["seed"] == 7 * 1_000_003 + best[trial.number].number
        straight = Assignment(**{**assignment, "goes_on_from": None, "checkpoint": None})
        directory = tmp_path / str(trial.number)
        directory.mkdir()
        (directory / "trial.json").write_text(straight.model_dump_json())
        assert attempts.run(directory) == (0, "")
        found = attempts.result(directory)
        assert trial.evaluation is not None
        assert found.versions["adapter"] == trial.evaluation.versions["adapter"]
        for metric in ("val_loss", "train_loss"):
            assert found.metrics[metric] == trial.evaluation.metrics[metric]


def test_over_three_studies_and_a_crash(copied: Site) -> None:
    """The seeds go along; what a master was launched with stays when the other run is gone."""
    third = copied.write(name="third", fidelity=0.3, evaluations=2, head='promote = "runs/tenth"')
    run = run_study(copied.shared, third)
    assert run.code == 0, run.errors
    seeds = {one.seed for one in run.history.created.promoted}
    assert seeds == {7 * 1_000_003 + trial.number for trial in ranked(history(copied.tenth))[:2]}
    whole = copied.write(name="long", head='promote = "runs/third"', evaluations=2)
    run = run_study(copied.shared, whole, fault="after-asked:1")
    assert {one.seed for one in run.history.created.promoted} == seeds
    shutil.rmtree(copied.shared / "runs" / "third")
    run = run_study(copied.shared, whole, resume=True)
    assert run.code == 0, run.errors
    for trial in run.history.trials:
        attempt = RunDirectory(run.path).attempt(trial.number, 1)
        assert json.loads((attempt / "trial.json").read_text())["seed"] in seeds
        assert "adapter.pth is not used: FileNotFoundError" in (attempt / "log.out").read_text()


def test_what_lies_outside_the_space_is_left(site: Site) -> None:
    found = ranked(history(site.tenth))
    best, second = found[:2]
    rates = [float(trial.configuration["learning_rate"]) for trial in (best, second)]
    between = (rates[0] * rates[1]) ** 0.5
    assert rates[0] > rates[1], "the lower bound cannot tell them apart"
    spec, lines = with_promoted(site.read(low=between), site.shared / "cache")
    assert [one.trial for one in spec.promoted] == [best.number]
    assert lines[1:] == [f"trials {second.number} there lie outside this space and are left"]
    [refused] = site.refusal(low=2.9e-2)
    assert f"none of its trials {best.number}, {second.number} lies in this study's space" in refused


def test_every_reason_is_given_at_once(site: Site) -> None:
    refused = site.refusal(order="shuffled", schedule="cosine", warmup=0.1)
    assert [problem.partition("promote: ")[2].partition(" = ")[0] for problem in refused] == [
        "[evaluation] of this study: order",
        "[evaluation] of this study: schedule",
        "[evaluation] of this study: warmup_fraction",
    ]
    path = site.shared / "whole.toml"
    assert all(problem.startswith(f"{path}:3: promote: ") for problem in refused)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_length": 100}, "[evaluation] differs in max_length: only epochs, fidelity, "),
        ({"space": "weight_decay = 0.1"}, "none of its trials"),
        ({"evaluations": 1}, "2 configurations to try first, and a budget of 1 evaluations"),
        ({"head": 'promote = "runs/nowhere"'}, "nowhere: cannot be read: No such file"),
        ({"space": "warmup_fraction = 0.1"}, "none of its trials"),
    ],
)
def test_a_study_that_is_not_the_same_but_longer_is_refused(
    site: Site, changes: dict[str, Any], words: str
) -> None:
    [refused] = site.refusal(**changes)
    assert words in refused


def rewritten(run: RunDirectory, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Give the ledger's records another content; None leaves one out."""
    records = [changed for record in read(run.ledger) if (changed := change(dict(record))) is not None]
    lines = (json.dumps({**record, "seq": seq}) for seq, record in enumerate(records))
    run.ledger.write_text("".join(line + "\n" for line in lines))


def test_a_run_that_nothing_can_be_taken_from_is_refused(copied: Site) -> None:
    rewritten(copied.tenth, lambda record: None if record["kind"] == "ended" else record)
    best = ranked(history(copied.tenth))[0].number
    copied.tenth.adapter(best).unlink()
    going, gone = copied.refusal()
    assert "this study has not ended" in going
    assert f"the adapters of trials {best} are not there any more" in gone


def test_a_training_that_saw_its_samples_twice_is_refused(copied: Site) -> None:
    def without(record: dict[str, Any]) -> dict[str, Any]:
        record.get("evaluation", {}).get("versions", {}).pop("training", None)
        return record

    rewritten(copied.tenth, without)
    assert all("saw samples a second time" in problem for problem in copied.refusal())


def test_another_model_under_the_same_words_is_refused(copied: Site) -> None:
    def other(record: dict[str, Any]) -> dict[str, Any]:
        if "training" in (versions := record.get("evaluation", {}).get("versions", {})):
            versions["training"] = "0" * 64
        return record

    rewritten(copied.tenth, other)
    [refused] = copied.refusal()
    assert "model or data are not the same" in refused


def test_a_study_that_kept_none_is_refused(copied: Site) -> None:
    study = copied.tenth.study
    study.write_text(study.read_text().replace("keep_adapters = 2", "keep_adapters = 0"))
    [refused] = copied.refusal()
    assert "has no adapter to go on from: keep_adapters = 0 keeps none" in refused


def test_only_litgpt_goes_on(site: Site, tmp_path: Path) -> None:
    from tests.fakes.studies import write_study

    path = write_study(tmp_path, head='name = "s"\nseed = 1\npromote = "runs/x"\n')
    with pytest.raises(InputError, match=r":3: promote: a synthetic evaluation leaves no adapters of ours"):
        read_checked_study(path)
    other = write_study(site.shared, head='name = "plain"\nseed = 1\n', budget="[budget]\nevaluations = 1\n")
    other.rename(site.shared / "plain.toml")
    assert run_study(site.shared, site.shared / "plain.toml").code == 0
    [refused] = site.refusal(head='promote = "runs/plain"')
    assert "a synthetic evaluation leaves no adapters of ours to go on from" in refused
