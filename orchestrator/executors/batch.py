"""What executors of batch schedulers share: settings, submission as one array, how long a job is as it is."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.executors import payload
from orchestrator.executors.base import Executor, JobState, Overrides, Resources
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

    def submit(
        self, attempts: Sequence[Path], token: str, folder: Path, overrides: Overrides = Overrides()
    ) -> list[str]:
        """Submit one array; see the contract."""
        text, trials_per_job = self.preview(attempts, token, folder, overrides), self.resources.trials_per_job
        minutes = self.resources.walltime_with(overrides)
        payload.write_pickles(attempts, folder, self._entry, minutes, trials_per_job)
        jobs = self._submit_array(text, token, folder, payload.job_count(attempts, trials_per_job))
        return payload.of_attempts(jobs, attempts, trials_per_job)

    def preview(
        self, attempts: Sequence[Path], token: str, folder: Path, overrides: Overrides = Overrides()
    ) -> str:
        """The batch script, with its options in its head."""
        count = payload.job_count(attempts, self.resources.trials_per_job)
        return self._array_script(token, folder, count, overrides)

    @abstractmethod
    def _array_script(self, token: str, folder: Path, count: int, overrides: Overrides) -> str:
        """Text of the batch script of `count` jobs.

        Raises:
            InputError: an option, a variable, the token or the folder cannot be used.
        """

    @abstractmethod
    def _submit_array(self, text: str, token: str, folder: Path, count: int) -> list[str]:
        """Submit the batch script of `count` jobs, and return their ids in turn.

        Raises:
            Full, Refused, SchedulerError: as `submit`.
        """
