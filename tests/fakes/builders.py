"""Ledgers and study files written by hand, as short as a test can read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.contract.assignment import Configuration
from orchestrator.contract.files import dumps
from orchestrator.record import History, RunDirectory, Summary
from orchestrator.record.ledger import Line

NOON = 1_700_000_000.0
CREATED = {
    "study": "story",
    "token": "story-abcdef",
    "seed": 7,
    "algorithm": "soo",
    "objective": {"metric": "loss", "direction": "minimize", "report": []},
    "budget": {"evaluations": 8, "gpu_hours": None},
    "scheduler": "slurm",
    "max_jobs": 2,
    "hosts": 1,
    "gpus": 4,
    "text": "",
    "path": "study.toml",
}


class Story:
    """The records of a study as its master would have written them; a minute passes before each."""

    def __init__(self, **created: Any) -> None:
        self.records: list[Line] = []
        self._trials = 0
        self.add("created", **{**CREATED, **created})

    def add(self, kind: str, **fields: Any) -> Story:
        seq = len(self.records)
        self.records.append({"seq": seq, "at": NOON + 60 * seq, "kind": kind, **fields})
        return self

    def ask(
        self,
        *configurations: Configuration,
        base: bool = False,
        shares: Mapping[int, int] | None = None,
        state: object = None,
    ) -> Story:
        """An ask; `shares`: place in it -> number of the trial whose score it takes."""
        asked: list[dict[str, Any]] = []
        if base:
            asked.append({"suggestion": None, "point": None, "configuration": {}, "note": {}, "shares": None})
        for place, configuration in enumerate(configurations):
            asked.append(
                {
                    "suggestion": self._trials + place,
                    "point": [0.5],
                    "configuration": configuration,
                    "note": {},
                    "shares": (shares or {}).get(place),
                }
            )
        self._trials += len(configurations)
        self.add("state", state=state or {"asked": self._trials})
        return self.add("asked", trials=asked)

    def submit(self, *attempts: tuple[int, int], jobs: bool = True) -> Story:
        """These (trial, attempt) pairs under one token; without `jobs` nobody answered yet."""
        token = f"story-abcdef-{len(self.records):04d}"
        self.add("submitting", token=token, attempts=[list(pair) for pair in attempts])
        if jobs:
            self.add("submitted", token=token, jobs=[f"job-{trial}-{attempt}" for trial, attempt in attempts])
        return self

    def score(self, trial: int, loss: float, stderr: float | None = None, **evaluation: Any) -> Story:
        metrics = {"loss": {"value": loss, "stderr": stderr}}
        return self._evaluate(trial, {"outcome": "ok", "metrics": metrics, **evaluation})

    def fail(self, trial: int, failure: str, message: str = "") -> Story:
        return self._evaluate(trial, {"outcome": "failed", "failure": failure, "message": message})

    def _evaluate(self, trial: int, content: dict[str, Any]) -> Story:
        attempt = len(self.history.trials[trial].attempts)
        ran = {"trial": trial, "attempt": attempt, "started_at": NOON, "ended_at": NOON + 120}
        return self.add("evaluated", trial=trial, attempt=attempt, evaluation={**ran, **content})

    @property
    def bytes(self) -> bytes:
        """The ledger."""
        return "".join(dumps(record) + "\n" for record in self.records).encode()

    @property
    def history(self) -> History:
        return History.replay(self.records)

    @property
    def summary(self) -> Summary:
        return Summary(self.history)

    def write(self, directory: Path) -> RunDirectory:
        """A run directory with this ledger."""
        run = RunDirectory(directory)
        run.ledger.write_bytes(self.bytes)
        return run


def whole_story() -> Story:
    """Ten trials: the base model, failures of two kinds, a shared score, a second attempt, an end."""
    story = Story(
        objective={"metric": "loss", "direction": "minimize", "report": ["acc"]},
        budget={"evaluations": 8, "gpu_hours": None},
    )
    rates = [{"rate": 10.0**-k, "rank": 2**k, "kind": "a[b]"} for k in range(1, 9)]
    story.ask(*rates[:4], base=True).submit((0, 1), (1, 1)).score(0, 2.5, 0.05).score(1, 2.1, 0.04)
    story.submit((2, 1), (3, 1), (4, 1)).fail(2, "diverged", "loss is nan at step 3 [rank0]").score(
        3, 1.7, 0.03
    )
    story.add("failed", trial=4, attempt=1, failure="killed", message="NODE_FAIL").submit((4, 2)).score(
        4, 1.9, 0.03
    )
    story.ask(*rates[4:7], rates[2], rates[7], shares={3: 3})
    story.submit((5, 1), (6, 1), (7, 1), (9, 1)).score(5, 1.68, 0.03)
    story.fail(6, "out_of_memory", "CUDA out of memory").score(7, 1.95, 0.02).score(9, 2.2, 0.06)
    return story.add("ended", why="done", message="the budget of 8 evaluations is spent")
