"""What is said between the master and the algorithm: what it learns, is told, is asked.

Whatever is evaluated and not held back is told before each ask, and each answer is in the ledger, with the
algorithm's state, before anything follows from it. So the last state and the ledger's records after it are
all that a later master needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from orchestrator.algorithms import Algorithm, Observation, Suggestion
from orchestrator.config import StudySpec
from orchestrator.contract import Outcome, Result
from orchestrator.contract.assignment import Configuration
from orchestrator.contract.files import dumps
from orchestrator.master.setup_faults import held_back, may_ask
from orchestrator.preflight.beginning import begin
from orchestrator.record import StudyRecord, Summary, Trial
from orchestrator.record.facts import Asked, AskedState, AskedTrial, Enqueued
from orchestrator.record.faults import fault_point

FRUITLESS = 100  # times the slots: so many known configurations in a row, and the search has nothing new


class AskTell:
    """Tells and asks one algorithm; never asks again after an empty answer before something new was told."""

    def __init__(
        self,
        algorithm: Algorithm,
        spec: StudySpec,
        record: StudyRecord,
        *,
        slots: int,
        trials_per_job: int = 1,
        say: Callable[[str], None],
    ) -> None:
        """Args:
        algorithm: new; what the ledger says of it is loaded.
        spec: the study.
        record: the study so far, which each answer of the algorithm is added to.
        slots: evaluations that may be open at once.
        trials_per_job: how many of them share a job, which is filled when it starts and not again.
        say: takes a line for people.
        """
        self._algorithm, self._spec = algorithm, spec
        self._record, self._history = record, record.history
        self._slots, self._trials_per_job, self._say = slots, trials_per_job, say
        history = record.history
        self._summary = Summary(history)
        self._nothing_to_ask = False  # until something is told
        own = [trial for trial in history.trials if trial.same_as is None]
        self._known = {dumps(trial.configuration): trial.number for trial in own}
        # As a person wrote them: decoding may end a last bit beside.
        wanted = (*spec.first, *history.requests.values())
        self._wanted = {spec.space.encode(configuration): configuration for configuration in wanted}

    def take_up(self, *, has_begun: bool = False) -> None:
        """Go on from the last state, or else begin, unless the algorithm `has_begun`.

        Raises:
            InputError: nothing can be learnt of a study to start from.
        """
        if self._history.state is not None:
            self._algorithm.load(self._history.state)
        elif not has_begun:
            for line in begin(self._algorithm, self._spec):
                self._say(line)
        for configuration in self._history.enqueued:
            self._algorithm.enqueue([self._spec.space.encode(configuration)])

    def enqueue(self, request: str, configuration: Configuration) -> None:
        """Have this configuration of the space tried, as that request file wants it."""
        self._record.write(Enqueued(request=request, configuration=configuration))
        point = self._spec.space.encode(configuration)
        self._wanted[point] = configuration
        self._algorithm.enqueue([point])
        self._nothing_to_ask = False

    def tell(self) -> None:
        """Tell of what was evaluated since, in the order of trials."""
        history = self._history
        held = {trial.number for trial in held_back(history)}
        observations = {
            trial.number: observation(trial.suggestion, evaluation, self._spec)
            for trial in history.to_tell
            if history.source(trial).number not in held
            and trial.suggestion is not None
            and (evaluation := history.evaluation(trial)) is not None
        }
        if not observations:
            return
        fault_point("before-tell")
        self._algorithm.tell(list(observations.values()))
        history.told.update(observations)
        self._nothing_to_ask = False
        fault_point("after-tell")

    def ask(self) -> bool:
        """Ask for what the free slots take, and record it; False if there is nothing to ask for now."""
        history, spec = self._history, self._spec
        limit = self._limit()
        if limit < 1 or self._nothing_to_ask or self._why_over() or not may_ask(history):
            return False
        # A shared score costs no evaluation, so the suggestions may be as many more.
        budget = spec.most_evaluations + sum(t.same_as is not None for t in history.trials)
        batch = self._algorithm.ask(limit, budget=budget)
        self._nothing_to_ask = not batch
        if not batch:
            return False
        first = len(history.trials)
        asked: list[AskedTrial] = []
        if spec.include_base and not first:
            asked.append(AskedTrial(suggestion=None, point=None, configuration={}, note={}, same_as=None))
        for suggestion in batch:
            asked.append(self._trial(suggestion, first + len(asked)))
        self._record.write(AskedState(state=self._algorithm.dump()))
        self._record.write(Asked(limit=limit, trials=tuple(asked)))
        last = len(history.trials) - 1
        numbers = f"trial {last}" if first == last else f"trials {first}–{last}"
        shared = sum(one.same_as is not None for one in asked)
        self._say(f"asked for {numbers}" + (f" ({shared} known already)" if shared else ""))
        return True

    @property
    def why_silent(self) -> str:
        """Why nothing is asked any more, when nothing is open."""
        return self._why_over() or f"{self._spec.algorithm} has nothing more to ask"

    def _limit(self) -> int:
        """How many evaluations may be asked for now."""
        left = self._spec.most_evaluations - len(self._history.spent)
        waiting = sum(trial.attempt is None for trial in self._history.open_trials)
        free = self._slots - waiting - self._trials_per_job * self._history.jobs_under_way
        # The end must not depend on how the suggestions fell into asks.
        return min(left, free, FRUITLESS * self._slots - self._fruitless)

    @property
    def _fruitless(self) -> int:
        """How many suggestions in a row brought nothing new."""
        return sum(1 for _ in itertools.takewhile(_is_shared, reversed(self._history.trials)))

    def _why_over(self) -> str | None:
        spec, spent = self._spec, len(self._history.spent)
        if spent >= spec.most_evaluations:
            return f"the budget of {spec.budget.evaluations} evaluations is spent"
        if spec.budget.gpu_hours is not None and (used := self._summary.gpu_hours) >= spec.budget.gpu_hours:
            return f"the budget of {spec.budget.gpu_hours:g} GPU-hours is spent ({used:.2f})"
        if (size := spec.space.cardinality) is not None and spent >= size:
            only = "the space's only configuration is evaluated"
            return only if size == 1 else f"all {size} configurations of the space are evaluated"
        if (fruitless := self._fruitless) >= FRUITLESS * self._slots:
            return f"{spec.algorithm} asked for no new configuration {fruitless} times in a row"
        return None

    def _trial(self, suggestion: Suggestion, number: int) -> AskedTrial:
        """The record of a new trial; one whose configuration is known shares that one's score."""
        point = suggestion.point
        configuration = self._wanted.get(point) or self._spec.space.decode(point)
        first = self._known.setdefault(dumps(configuration), number)
        return AskedTrial(
            suggestion=suggestion.id,
            point=point,
            configuration=configuration,
            note=suggestion.note,
            same_as=None if first == number else first,
        )


def observation(suggestion: int, evaluation: Result, spec: StudySpec) -> Observation:
    """What the algorithm is told: the objective as a score to maximize, or a failure."""
    if evaluation.outcome is Outcome.FAILED:
        return Observation(suggestion, None)
    metric = evaluation.metrics[spec.objective.metric]
    return Observation(suggestion, spec.objective.sign * metric.value, metric.stderr)


def _is_shared(trial: Trial) -> bool:
    return trial.same_as is not None
