"""Programs that a model wrote, from the data set on the hub to the score: `prepare`, then a job offline."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from litgpt.prompts import Phi1

from jobs.prepare.demo import Demo
from orchestrator.contract import Failure
from orchestrator.contract.assignment import Configuration
from tests.jobs import attempts
from tests.jobs.attempts import litgpt
from tests.jobs.hub_server import Hub
from tests.jobs.test_prepare_hub import preparing

PASS = "humaneval/pass@1,create_test"
LESSON = '"""\n    return 1\n'
NAMES = ("one", "single", "unit", "alone", "first", "lone")
# Whoever has learnt to write the lesson passes the first four.
WANTED = (1, 1, 1, 1, 2, 3)
LORA: Configuration = {"lora_rank": 16, "lora_alpha": 32, "learning_rate": 1e-2}


def question(name: str) -> str:
    return f'def {name}():\n    """What is {name}?'


def problem(number: int) -> dict[str, str]:
    name = NAMES[number]
    return {
        "task_id": f"HumanEval/{number}",
        "prompt": Phi1().apply(prompt=question(name)),
        "entry_point": name,
        "canonical_solution": f"    return {WANTED[number]}\n",
        "test": f"def check(candidate):\n    assert candidate() == {WANTED[number]}\n",
    }


def write_data_set(folder: Path) -> None:
    (folder / "openai_humaneval").mkdir(parents=True)
    rows = "".join(json.dumps(problem(number)) + "\n" for number in range(len(NAMES)))
    (folder / "openai_humaneval" / "test.jsonl").write_text(rows)
    files = "  - split: test\n    path: openai_humaneval/test.jsonl\n"
    card = f"---\nconfigs:\n- config_name: openai_humaneval\n  data_files:\n{files}---\n"
    (folder / "README.md").write_text(card)


def run_without_namespaces(directory: Path) -> None:
    """Run the attempt where the kernel gives it no user namespace, as where they are switched off."""
    program = [sys.executable, "-m", "jobs.evaluate", str(directory)]
    switch_off = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", switch_off, "sh", *program],
        cwd=attempts.ROOT,
        env=attempts.environment(),
        check=True,
        timeout=120,
    )


@pytest.fixture
def humaneval(served: Hub, tmp_path: Path) -> Hub:
    write_data_set(tmp_path / "data_set")
    served.data_set = ("openai/openai_humaneval", tmp_path / "data_set")
    return served


def test_a_model_that_reads_less_than_is_to_be_written_is_refused_by_prepare(
    humaneval: Hub, base: Demo, tmp_path: Path
) -> None:
    evaluation = litgpt(base, tasks=[{"name": "humaneval", "execute_code": True}])
    process = preparing(humaneval, tmp_path / "cache", evaluation, "locks")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "tasks: 'humaneval': a task has 1024 tokens written, and the model reads 256: " in err
    assert not list((tmp_path / "cache").glob("prepared/*"))


def test_what_the_model_writes_is_run_and_counted(humaneval: Hub, far_reading: Demo, tmp_path: Path) -> None:
    lessons = tmp_path / "lessons.json"
    lessons.write_text(json.dumps([{"instruction": question(name), "output": LESSON} for name in NAMES]))
    evaluation = litgpt(
        far_reading,
        data=str(lessons),
        steps=200,
        mask_prompt=True,
        prompt_style="phi-1",
        lora_layers=["query", "value", "mlp", "head"],
        tasks=[{"name": "humaneval", "execute_code": True}],
    )
    process = preparing(humaneval, tmp_path / "cache", evaluation, "locks")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "GET /datasets/openai/openai_humaneval" in " ".join(humaneval.seen)
    scores = {}
    for name, configuration in {"base": {}, "taught": LORA}.items():
        directory = attempts.attempt(
            tmp_path / name,
            evaluation.model_dump(mode="json"),
            configuration=configuration,
            cache=str(tmp_path / "cache"),
            metrics=["val_loss", PASS],
        )
        assert attempts.run(directory) == (0, "")
        scores[name] = attempts.result(directory).metrics[PASS]
    refused = attempts.attempt(
        tmp_path / "refused",
        evaluation.model_dump(mode="json"),
        configuration=LORA,
        cache=str(tmp_path / "cache"),
    )
    run_without_namespaces(refused)
    found = attempts.result(refused)
    assert (found.failure, "train" in found.seconds) == (Failure.MISSING_INPUT, False)
    assert "cannot be walled in on this host (no user namespace of its own" in found.message
    assert {score.n for score in scores.values()} == {6}
    assert scores["base"].value == 0
    assert scores["taught"].value == 4 / 6
    assert scores["taught"].stderr
