"""The report of a study: Markdown, CSV and a figure, from the ledger alone."""

from __future__ import annotations

import csv
import re
import tomllib
import warnings
from datetime import datetime
from pathlib import Path

import pytest

from orchestrator.contract.assignment import Configuration
from orchestrator.record import RunDirectory
from orchestrator.views import write_report
from tests.fakes.builders import NOON, Story, whole_story


def report_of(story: Story, directory: Path) -> str:
    return write_report(story.write(directory), story.summary).read_text(encoding="utf-8")


def rows_of(run: RunDirectory) -> list[dict[str, str]]:
    with (run.report / "trials.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_report_names_the_best_configuration_as_toml_that_reads_back(tmp_path: Path) -> None:
    values: Configuration = {"rate": 1e-05, "rank": 8, "mask": True, "kind": 'a "quoted" \\ ö'}
    text = report_of(Story().ask(values).submit((0, 1)).score(0, 1.5), tmp_path)
    block = text.partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(block) == values


def test_the_report_tells_the_whole_story(tmp_path: Path) -> None:
    text = report_of(whole_story(), tmp_path)
    assert "8 evaluations (2 failed), 0.30 host-hours (1.20 GPU-hours); loss is minimized." in text
    for line in (
        "# story",
        "Ended: the budget of 8 evaluations is spent.",
        "Trial 5: **loss 1.680 ± 0.030**",
        "Base model, untouched: loss 2.500 ± 0.050.",
        "| trial | configuration | loss | acc | outcome | time |",
        "| 0 | base model, untouched | 2.500 ± 0.050 | — | ok | 2 min |",
        "| ★ 5 | rate=1e-05 rank=32 kind=a[b] | 1.680 ± 0.030 | — | ok | 2 min |",
        "| 8 | rate=0.001 rank=8 kind=a[b] | 1.700 ± 0.030 | — | shared with 3 |  |",
        "- trial 2: diverged: loss is nan at step 3 [rank0]",
        "- trial 6: out_of_memory: CUDA out of memory",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (
            (1.9, 0.03),
            "The second best, trial 1 at 1.900 ± 0.030, lies 8.0 standard errors of the difference",
        ),
        ((1.9, 0.03), "the best is clearly ahead"),
        ((1.55, 0.03), "not to be told apart from it by this measurement"),
    ],
)
def test_the_lead_of_the_best_is_measured_in_noise(
    tmp_path: Path, second: tuple[float, float], words: str
) -> None:
    story = Story().ask({"x": 1}, {"x": 2}).submit((0, 1), (1, 1)).score(0, 1.5, 0.04).score(1, *second)
    assert words in report_of(story, tmp_path)


def test_without_standard_errors_the_report_does_not_pretend_to_know(tmp_path: Path) -> None:
    story = Story().ask({"x": 1}, {"x": 2}).submit((0, 1), (1, 1)).score(0, 1.5).score(1, 1.6)
    assert "without a standard error" in report_of(story, tmp_path)


def test_a_single_trial_is_compared_with_none(tmp_path: Path) -> None:
    story = Story().ask({"x": 1}).submit((0, 1)).score(0, 1.5, 0.1)
    assert "No second trial to compare it with." in report_of(story, tmp_path)


def test_the_table_has_a_row_for_every_trial_and_keeps_whole_numbers_whole(tmp_path: Path) -> None:
    story = whole_story()
    run = story.write(tmp_path)
    write_report(run, story.summary)
    rows = rows_of(run)
    assert [row["trial"] for row in rows] == [str(n) for n in range(10)]
    assert [row["rank"] for row in rows][:4] == ["", "2", "4", "8"]
    assert [row["shares"] for row in rows][7:] == ["", "3", ""]
    assert (rows[5]["loss"], rows[5]["loss_stderr"], rows[5]["seconds"]) == ("1.68", "0.03", "120.0")
    assert (rows[2]["loss"], rows[2]["outcome"]) == ("", "diverged")
    assert rows[8]["seconds"] == "0.0"


def test_parameters_that_are_not_always_there_stand_with_the_others(tmp_path: Path) -> None:
    story = Story().ask({"x": 1}, {"x": 2, "loss": 3.0}).submit((0, 1), (1, 1)).score(0, 1.5).score(1, 1.6)
    run = story.write(tmp_path)
    write_report(run, story.summary)
    rows = rows_of(run)
    assert list(rows[0])[:4] == ["trial", "ask", "x", "loss"]
    assert [(row["loss"], row["metric:loss"]) for row in rows] == [("", "1.5"), ("3.0", "1.6")]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_figure_is_drawn_for_either_direction(tmp_path: Path, direction: str) -> None:
    story = whole_story()
    story.records[0]["objective"]["direction"] = direction
    run = story.write(tmp_path)
    write_report(run, story.summary)
    assert (run.report / "progress.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "story",
    [
        Story(),
        Story().ask({"x": 1}, base=True),
        Story().ask({"x": 1}).submit((0, 1)).fail(0, "diverged"),
        Story().ask({}, base=True).submit((0, 1)).score(0, 1.0),
    ],
    ids=["nothing asked", "nothing evaluated", "nothing but failures", "the base model alone"],
)
def test_a_study_without_a_score_has_a_report_too(tmp_path: Path, story: Story) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = report_of(story, tmp_path)
    assert "The study has not ended" in text
    assert "## Best configuration" not in text


def test_a_second_report_replaces_the_first(tmp_path: Path) -> None:
    story = Story().ask({"x": 1}).submit((0, 1))
    report_of(story, tmp_path)
    assert "## Best configuration" in report_of(story.score(0, 1.5), tmp_path)
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "progress.png",
        "report.md",
        "trials.csv",
    ]


def test_the_best_block_is_toml_and_the_table_markdown_whatever_names_and_values_hold(tmp_path: Path) -> None:
    odd: dict[str, bool | int | float | str] = {
        "lora.rank": 8,
        "größe": 0.5,
        'a "quoted" one': True,
        "plain-name_1": 1e-05,
        "text": 'a | b\\c "d"\ne\tf',
    }
    story = Story().ask(odd, {"x": 1}).submit((0, 1), (1, 1)).score(0, 1.5).fail(1, "killed", "a|b")
    text = report_of(story, tmp_path)
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert tomllib.loads(block) == odd
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}


def test_the_table_says_when_a_trial_ran_and_in_which_zone(tmp_path: Path) -> None:
    run = whole_story().write(tmp_path)
    write_report(run, whole_story().summary)
    row = rows_of(run)[5]
    began, ended = (datetime.fromisoformat(row[name]) for name in ("started", "ended"))
    assert began.tzinfo is not None
    assert (began.timestamp(), (ended - began).total_seconds()) == (NOON, 120)
