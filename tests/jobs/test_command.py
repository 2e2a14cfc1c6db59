"""Any program as an evaluation: what it may write, and every way it can go wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from jobs.attempt.failure import EvaluationFailed
from jobs.attempt.measured import Measured
from jobs.evaluations.command import run
from orchestrator.contract import Assignment, Failure, Metric
from tests.jobs.attempts import attempt


def measured(directory: Path, script: str, *first: str, objective: str = "a") -> Measured:
    """What `script`, or the program `first`, comes to in a study of that objective."""
    attempt(directory, {"kind": "command"})
    assignment = Assignment.model_validate_json((directory / "trial.json").read_bytes())
    asked = assignment.model_copy(update={"metrics": (objective,)})
    return run(first or ("sh", "-c", script, "program"), asked, directory)


def failed(directory: Path, script: str, *first: str, objective: str = "a") -> tuple[Failure, str]:
    with pytest.raises(EvaluationFailed) as raised:
        measured(directory, script, *first, objective=objective)
    return raised.value.failure, str(raised.value)


def test_numbers_and_objects_are_metrics(tmp_path: Path) -> None:
    output = '{"loss": 0.5, "acc": {"value": 1, "stderr": 0.1, "n": 9}, "f": {"value": 2, "n": null}}'
    assert measured(tmp_path, f"echo '{output}' > $2", objective="loss").metrics == {
        "loss": Metric(value=0.5),
        "acc": Metric(value=1, stderr=0.1, n=9),
        "f": Metric(value=2),
    }


def test_the_program_is_told_what_to_do(tmp_path: Path) -> None:
    measured(tmp_path, 'cp "$1" given; env > environment; pwd > where; echo "{\\"a\\": 1}" > "$2"')
    assert json.loads((tmp_path / "given").read_text()) == {"x0": 0.5, "x1": 0.5}
    assert (tmp_path / "where").read_text().strip() == str(tmp_path)
    environment = (tmp_path / "environment").read_text().splitlines()
    assert {"ORCHESTRATOR_SEED=11", "ORCHESTRATOR_TRIAL=7"} <= set(environment)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", '{"value": NaN}'])
def test_an_objective_that_is_no_number_is_divergence(tmp_path: Path, number: str) -> None:
    script = f"""echo '{{"good": 1, "loss": {number}}}' > $2"""
    failure, message = failed(tmp_path, script, objective="loss")
    assert failure is Failure.DIVERGED
    assert "loss" in message


@pytest.mark.parametrize("error", ["NaN", "Infinity", "null"])
def test_an_error_that_is_no_number_is_unknown(tmp_path: Path, error: str) -> None:
    found = measured(tmp_path, f"""echo '{{"a": {{"value": 1, "stderr": {error}}}}}' > $2""")
    assert found.metrics == {"a": Metric(value=1)}
    assert found.notes == ()


@pytest.mark.parametrize(
    ("value", "note"),
    [
        ("NaN", "metric odd: value is nan"),
        ('"a word"', "'odd': value is 'a word', not a number"),
        ("[1, 2]", "'odd': value is [1, 2], not a number"),
        ("true", "not a number"),
        ("null", "not a number"),
        ('{"mean": 1}', "metric 'odd' has no value"),
        ('{"value": 1, "stderr": -1}', "cannot be negative"),
    ],
)
def test_what_nobody_searches_costs_no_score(tmp_path: Path, value: str, note: str) -> None:
    found = measured(tmp_path, f"""echo '{{"odd": {value}, "a": 0.5}}' > $2""")
    assert found.metrics == {"a": Metric(value=0.5)}
    (said,) = found.notes
    assert said.startswith("left out: ")
    assert note in said


def test_without_the_objective_it_is_told_what_is_there(tmp_path: Path) -> None:
    failure, message = failed(tmp_path, """echo '{"b": 1, "c": "x"}' > $2""")
    assert failure is Failure.BAD_RESULT
    assert "has no metric 'a': it has b; left out: " in message


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[1]", "not an object"),
        ("{}", "not an object"),
        ('{"a": "1"}', "'a': value is '1', not a number"),
        ('{"a": true}', "not a number"),
        ('{"a": null}', "not a number"),
        ('{"a": [1]}', "not a number"),
        ('{"a": {"stderr": 1}}', "has no value"),
        ('{"a": {"value": 1, "sd": 1}}', "has ['sd']"),
        ('{"a": {"value": 1, "stderr": -1}}', "cannot be negative"),
        ('{"a": {"value": 1, "n": 1.5}}', "not a whole number"),
    ],
)
def test_a_malformed_output_is_a_bad_result(tmp_path: Path, output: str, words: str) -> None:
    failure, message = failed(tmp_path, f"printf '%s' '{output}' > $2")
    assert failure is Failure.BAD_RESULT
    assert words in message


def test_no_output_is_a_bad_result_even_where_an_earlier_run_left_one(tmp_path: Path) -> None:
    (tmp_path / "output.json").write_text('{"loss": 1}')
    failure, message = failed(tmp_path, "true")
    assert failure is Failure.BAD_RESULT
    assert "was not written" in message


def test_failure_tells_the_last_words(tmp_path: Path) -> None:
    failure, message = failed(tmp_path, "seq 30 >&2; echo to stdout; exit 4")
    assert failure is Failure.PROGRAM_ERROR
    assert message.endswith(" | ".join(str(n) for n in range(19, 31)))
    assert "exited with 4" in message


def test_memory_and_disk_are_told_from_other_failures(tmp_path: Path) -> None:
    assert failed(tmp_path, "kill -9 $$")[0] is Failure.KILLED
    assert failed(tmp_path, "cat /proc/version >/dev/full")[0] is Failure.DISK_FULL
    words = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    assert failed(tmp_path, f"echo '{words}' >&2; exit 1")[0] is Failure.OUT_OF_MEMORY
    words = "RuntimeError: CUDA error: uncorrectable ECC error encountered"
    assert failed(tmp_path, f"echo '{words}' >&2; exit 1")[0] is Failure.HOST_FAULT
    failure, message = failed(tmp_path, "kill -SEGV $$")
    assert failure is Failure.PROGRAM_ERROR
    assert "killed by signal 11" in message


def test_a_program_that_cannot_start_is_missing(tmp_path: Path) -> None:
    assert failed(tmp_path, "", "no-such-program")[0] is Failure.MISSING_INPUT
    (tmp_path / "script").write_text("#!/bin/sh\n")
    failure, message = failed(tmp_path, "", str(tmp_path / "script"))
    assert failure is Failure.MISSING_INPUT
    assert "make it executable" in message


def test_what_stays_in_the_background_neither_delays_nor_survives(tmp_path: Path) -> None:
    begun = time.monotonic()
    measured(tmp_path, 'sleep 60 & echo $! > pid; echo "{\\"a\\": 1}" > $2')
    assert time.monotonic() - begun < 5
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/cwd").exists()
