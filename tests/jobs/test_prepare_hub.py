"""All of `prepare` against a stand-in hub: two at once, and once with everything."""

from __future__ import annotations

import errno
import fcntl
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jobs.inputs import Prepared, require_prepared
from jobs.prepare.demo import Demo
from jobs.prepare.prepare import prepare
from orchestrator.contract import LitGPTEvaluation
from orchestrator.errors import InputError
from tests.jobs.attempts import ROOT, environment, litgpt
from tests.jobs.hub_models import NAME, TOKEN, WEIGHTS, gets
from tests.jobs.hub_server import Hub


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "cache"


PREPARE = """
import errno, fcntl, sys
from pathlib import Path
from jobs.prepare import offline
from jobs.prepare.prepare import prepare
from orchestrator.contract.evaluation import LitGPTEvaluation

def flock(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")

if sys.argv[3] == "no locks":
    fcntl.flock = flock
    offline.prove = lambda evaluation, prepared, cache: prepared  # the tests' own process has another, too
evaluation = LitGPTEvaluation.model_validate_json(sys.argv[2])
print(prepare(evaluation, Path(sys.argv[1]), lambda line: print(line, file=sys.stderr)).model_dump_json())
"""


def preparing(served: Hub, own: Path, evaluation: LitGPTEvaluation, locks: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE, str(own), evaluation.model_dump_json(), locks],
        cwd=ROOT,
        env=environment(
            HF_HUB_OFFLINE="0",
            HF_DATASETS_OFFLINE="0",
            HF_ENDPOINT=served.address,
            HF_TOKEN=TOKEN,
            NO_PROXY="127.0.0.1",
            HF_HUB_DOWNLOAD_TIMEOUT="120",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_two_at_once_without_locks_both_succeed_with_the_same(
    served: Hub, own: Path, base: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.meetings = {WEIGHTS: threading.Barrier(2)}  # both are at it at once
    evaluation = litgpt(base, model=NAME, tasks=[])
    other = preparing(served, own, evaluation, "no locks")

    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        mine = prepare(evaluation, own, said.append)
    out, err = other.communicate(timeout=120)
    assert other.returncode == 0, err
    assert Prepared.model_validate_json(out) == mine
    assert "has no locks" in said[0]
    assert len(gets(served, WEIGHTS)) == 2
    assert sorted(one.name for one in (own / "models").iterdir()) == ["someone"]
    require_prepared(evaluation, own)


def test_all_of_it_from_the_hub_and_then_without_a_network(
    served: Hub, own: Path, base: Demo, tmp_path: Path
) -> None:
    """A model and a data set, behind a token, a cut and an error page; then a process of its own."""
    rows = [
        {
            "id": str(n),
            "question": f"which {n}?",
            "choices": {"text": ["a", "b"], "label": ["A", "B"]},
            "answerKey": "A",
        }
        for n in range(3)
    ]
    folder = tmp_path / "data_set" / "ARC-Easy"
    folder.mkdir(parents=True)
    splits = ("train", "validation", "test")
    for split in splits:
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    files = "".join(f"  - split: {one}\n    path: ARC-Easy/{one}.jsonl\n" for one in splits)
    card = f"---\nconfigs:\n- config_name: ARC-Easy\n  data_files:\n{files}---\n"
    (folder.parent / "README.md").write_text(card)
    served.data_set = ("allenai/ai2_arc", folder.parent)
    served.token = TOKEN
    served.faults = {WEIGHTS: ["cut"], "train.jsonl": ["padded"]}
    tasks = [{"name": "kinds", "file": str(base.task)}, {"name": "arc_easy"}]
    evaluation = litgpt(base, model=NAME, tasks=tasks)
    process = preparing(served, own, evaluation, "locks")
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    prepared = require_prepared(evaluation, own)
    assert Prepared.model_validate_json(out) == prepared
    local, stock = prepared.tasks
    assert local.metrics == ("kinds/acc", "kinds/acc_norm")
    assert stock.metrics == ("arc_easy/acc", "arc_easy/acc_norm")
    assert len(stock.data) == 3
    said = err.splitlines()
    for path in (prepared.model, str(own / "tokens"), str(Path(stock.data[0].path).parent)):
        assert any(line.endswith(f"B  {path}") for line in said)
    assert len(gets(served, "ARC-Easy/train.jsonl")) == 2
    assert TOKEN not in out + err
    written = b"".join(path.read_bytes() for path in own.rglob("*") if path.is_file())
    assert TOKEN.encode() not in written
    Path(stock.data[0].path).unlink()
    with pytest.raises(InputError, match="run `orchestrator prepare"):
        require_prepared(evaluation, own, sources=False)
