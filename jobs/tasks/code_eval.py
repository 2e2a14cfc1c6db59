"""Replaces the metric `evaluate.load("code_eval")`, which is fetched from the hub and has no sandbox."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from jobs.tasks import sandbox

# Folders of lm-eval whose tasks run what a model writes through `code_eval`, and in no other way.
FOLDERS = ("humaneval", "humaneval_infilling", "mbpp")


class CodeEval:
    """The metric pass@k: the share of problems that at least one of k programs solves, run in the sandbox.

    Attributes:
        running: False: programs are not run, and count as failed.
    """

    def __init__(self) -> None:
        self.running = False  # lm-eval's modules try the metric when imported, on login nodes too

    def compute(
        self, references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int]
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """Compute pass@k for several k.

        Args:
            references: the test program of each problem.
            predictions: the programs for each problem.
            k: numbers of programs of which one has to pass; left out if a problem has fewer programs.

        Returns:
            The mean of each "pass@k" over the problems; and nothing in place of details, which nobody reads.

        Raises:
            EvaluationFailed: this host cannot make the sandbox.
        """
        counts = [
            (
                len(programs),
                sum(self.running and sandbox.passes(f"{program}\n{tests}") for program in programs),
            )
            for tests, programs in zip(references, predictions, strict=True)
        ]
        return {
            f"pass@{one}": sum(pass_at(one, n, right) for n, right in counts) / len(counts)
            for one in k
            if all(n >= one for n, _ in counts)
        }, {}


def pass_at(k: int, n: int, right: int) -> float:
    """The probability that at least one of `k` programs passes, drawn from `n` of which `right` pass.

    Chen et al. 2021, arXiv 2107.03374, eq. 1.
    """
    return 1 - math.comb(n - right, k) / math.comb(n, k)


CODE_EVAL = CodeEval()


@contextmanager
def in_place() -> Iterator[None]:
    """Inside, `evaluate.load("code_eval")` gives `CODE_EVAL`."""
    import evaluate

    shipped = evaluate.load

    def load(path: str, *arguments: Any, **settings: Any) -> Any:
        return CODE_EVAL if path == "code_eval" else shipped(path, *arguments, **settings)

    with mock.patch.object(evaluate, "load", load):
        yield


@contextmanager
def running() -> Iterator[None]:
    """Inside, `CODE_EVAL` runs programs."""
    CODE_EVAL.running = True
    try:
        yield
    finally:
        CODE_EVAL.running = False
