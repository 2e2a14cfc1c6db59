"""The master: one study from its first ask to its last evaluation.

A loop that keeps every slot of the cluster busy: whenever something was evaluated, tell the algorithm;
whenever slots are free, ask it for as many; submit what waits; look for results. An algorithm that searches
in rounds answers nothing until its round is told, and hands out what it has planned as slots get free.

Every fact is in the ledger before anything follows from it, so a master that dies at any instant is continued
by the next one as if nothing had happened: it loads the algorithm's last state, tells what was evaluated
since, finds out what became of submissions without an answer, and goes on waiting for the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.algorithms import Algorithm
from orchestrator.attempts import Attempts
from orchestrator.config import ClusterProfile, StudySpec
from orchestrator.contract.attempt import LOG
from orchestrator.errors import SchedulerError, StudyStopped
from orchestrator.executors import Executor
from orchestrator.master.ask_tell import AskTell
from orchestrator.master.retention import Retention
from orchestrator.master.setup_faults import held_back, why_stopped
from orchestrator.record import MasterLock, RunDirectory, StudyRecord, Trial, requests
from orchestrator.record.facts import Ended, Reopened, Why
from orchestrator.record.summary import values_text

_WAIT_S = 0.002  # a trial, between two looks at result files: a shared filesystem has other users


class Master:
    """Runs a study. The caller holds the run's lock; the record says at least what the study is."""

    def __init__(
        self,
        run: RunDirectory,
        lock: MasterLock,
        *,
        spec: StudySpec,
        profile: ClusterProfile,
        executor: Executor,
        algorithm: Algorithm,
        has_begun: bool = False,
        record: StudyRecord,
        say: Callable[[str], None],
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """Args:
        run: the study's directory.
        lock: of the run, taken.
        spec: the study.
        profile: where it runs.
        executor: submits to the scheduler that the profile names.
        algorithm: new.
        has_begun: it was told already what the study file wants it to know and to try.
        record: the study so far, which all that happens is added to.
        say: takes a line for people.
        wait: sleeps so many seconds.
        """
        self._run, self._spec, self._profile = run, spec, profile
        self._has_begun = has_begun
        self._record, self._history, self._lock = record, record.history, lock
        self._say, self._wait = say, wait
        self._search = AskTell(
            algorithm, spec, record, slots=profile.slots, trials_per_job=profile.trials_per_job, say=say
        )
        self._attempts = Attempts(
            run,
            spec=spec,
            profile=profile,
            executor=executor,
            record=record,
            say=say,
            wait=wait,
        )
        self._retention = Retention(run, spec, record, say)

    def run(self, *, once: bool = False) -> str | None:
        """Search until the study ends; return why it did.

        Args:
            once: do what can be done now, and return None if the study is to go on after that.

        Raises:
            InputError: a study to start from cannot be used.
            StudyStopped: it cannot go on, or was cancelled; nothing is lost.
        """
        try:
            self._recover()
            while True:
                self._lock.beat()
                if self._run.cancel_is_requested():
                    self._cancel()
                    continue
                self._take_requests()
                self._search.tell()
                if self._search.ask():
                    continue  # what shares a score can be told at once, and leaves its slot free
                if self._history.open_trials:
                    if self._attempts.step():
                        self._retention.sweep()
                        continue
                    if once and not self._attempts.provisional:
                        return None
                    self._wait(min(0.5, self._profile.poll_s) + _WAIT_S * len(self._history.open_trials))
                elif held := held_back(self._history):
                    self._stop(held)
                else:
                    self._retention.sweep(last=True)
                    self._attempts.clear()
                    self._record.write(Ended(why=Why.DONE, message=self._search.why_silent))
                    return self._search.why_silent
        except OSError as error:  # the disk is full, or the shared filesystem away
            raise StudyStopped(
                f"{error.filename or self._run.path}: {error.strerror or error}; "
                f"nothing is lost: mend that, then `orchestrator resume {self._run.path}`"
            ) from error

    # -- taking up ------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        self._search.take_up(has_begun=self._has_begun)
        if (ended := self._history.ended) is not None:
            held = held_back(self._history) if ended.why is Why.FAILED else []
            numbers = sorted(trial.number for trial in held)
            self._record.write(Reopened(trials=tuple(numbers)))
            if numbers:
                self._say(f"trying again, hoping that it is mended: trials {', '.join(map(str, numbers))}")
        self._attempts.recover()
        self._retention.sweep()

    def _take_requests(self) -> None:
        """Take up what `orchestrator enqueue` asks for: the record first, then the file goes."""
        for request in requests.waiting(self._run):
            if request.name not in self._history.requests:
                configuration = requests.content(request, self._spec.space)
                if configuration is None:
                    self._say(f"{request}: asks for no configuration of this study, passed over")
                else:
                    self._search.enqueue(request.name, configuration)
                    self._say(f"enqueued: {values_text(configuration)}")
            request.unlink(missing_ok=True)

    # -- the end --------------------------------------------------------------------------------------------

    def _cancel(self) -> None:
        try:
            self._attempts.cancel()
        except SchedulerError as error:
            self._say(f"the scheduler did not cancel, asking again: {error}")
            self._wait(5.0)
            return
        self._record.write(Ended(why=Why.CANCELLED, message="by `orchestrator cancel`"))
        self._run.cancel_request.unlink(missing_ok=True)
        raise StudyStopped(f"cancelled; to go on after all: `orchestrator resume {self._run.path}`")

    def _stop(self, held: list[Trial]) -> None:
        """Stop rather than search on what failed of something that is no configuration's fault."""
        last = held[-1].evaluation
        assert last is not None
        message = why_stopped(self._history, held, self._run.attempt(last.trial, last.attempt) / LOG)
        resume = f"orchestrator resume {self._run.path}"
        message += f"Mend it, then `{resume}` tries these trials again; or, if their configurations are to "
        message += f"blame after all, `{resume} --accept-failures` tries others"
        self._record.write(Ended(why=Why.FAILED, message=message))
        raise StudyStopped(message)
