"""What executors of batch schedulers share: their settings, and since when a job has been seen as it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.executors.base import Executor, JobState, Resources
from orchestrator.executors.call import EVALUATE


class BatchExecutor(Executor):
    """See the contract.

    Args:
        resources: of one evaluation. An evaluation is one process, on the first of its hosts.
        entry: "module:function", called on a host with the attempt's directory.
        prefix: of this study's tokens. A job of another name is not ours, though its id may be: ids return.
        answer_s: seconds a query may take.
        submit_s: seconds a submission may take. A busy server needs its time, and one that is given up may
            have its effect all the same.
        grace_s: seconds after which a job that the scheduler does not know is lost.
        clock: seconds; passed in for tests.
    """

    def __init__(
        self,
        resources: Resources,
        entry: str = EVALUATE,
        *,
        prefix: str = "",
        answer_s: float = 20.0,
        submit_s: float = 60.0,
        grace_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.resources = resources
        self._entry = entry
        self._prefix = prefix
        self._answer_s = answer_s
        self._submit_s = submit_s
        self._grace_s = grace_s
        self._clock = clock
        self._ended: dict[str, JobState] = {}
        self._seen: dict[str, tuple[str, float]] = {}  # job -> its word, and when it was first seen with it

    def _since(self, job: str, word: str) -> float:
        """When the job was first seen with this word, on our clock."""
        seen_word, since = self._seen.get(job, (None, 0.0))
        if seen_word != word:
            since = self._clock()
            self._seen[job] = word, since
        return since
