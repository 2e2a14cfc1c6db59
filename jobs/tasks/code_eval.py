"""In place of `evaluate.load("code_eval")`: that is fetched from the hub, and runs programs as they are."""

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
    """pass@k of programs, each judged in the sandbox."""

    def __init__(self) -> None:
        self.running = False  # lm-eval's modules try it as they are loaded, on login nodes too

    def compute(
        self, references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int]
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """`pass@k` -> mean over problems; and nothing more, for nobody reads it.

        Args:
            references: the tests of each problem.
            predictions: programs for each problem.
            k: of how many one has to pass.

        Raises:
            EvaluationFailed: this host cannot wall a program in.
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
    """Probability that of `k` drawn from `n` programs, `right` of which pass, one does (Chen 2021, eq. 1)."""
    return 1 - math.comb(n - right, k) / math.comb(n, k)


CODE_EVAL = CodeEval()


@contextmanager
def in_place() -> Iterator[None]:
    """Within, what lm-eval's modules load under the name is ours."""
    import evaluate

    shipped = evaluate.load

    def load(path: str, *arguments: Any, **settings: Any) -> Any:
        return CODE_EVAL if path == "code_eval" else shipped(path, *arguments, **settings)

    with mock.patch.object(evaluate, "load", load):
        yield


@contextmanager
def running() -> Iterator[None]:
    """Within, programs are run."""
    CODE_EVAL.running = True
    try:
        yield
    finally:
        CODE_EVAL.running = False
