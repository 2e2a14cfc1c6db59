"""How a search begins: with what other studies scored, and with the configurations a person wants first."""

from __future__ import annotations

import tomllib
from pathlib import Path

from orchestrator import algorithms
from orchestrator.algorithms import Algorithm, KnownScore
from orchestrator.config import StudySpec
from orchestrator.config.tomlfile import TomlFile
from orchestrator.contract.assignment import Configuration
from orchestrator.errors import InputError, LedgerCorrupt
from orchestrator.record import History
from orchestrator.record.ledger import read


def new_algorithm(spec: StudySpec, *, budget: int, capacity: int) -> Algorithm:
    """Return the study's algorithm, new.

    Raises:
        InputError: it cannot search this space with this budget, or what it needs is not installed.
    """
    seed, options = spec.seed, spec.options
    try:
        return algorithms.create(
            spec.algorithm, spec.space, seed=seed, budget=budget, capacity=capacity, **options
        )
    except InputError as error:
        raise InputError([_at(spec, "algorithm", problem) for problem in error.problems]) from error


def begin(algorithm: Algorithm, spec: StudySpec) -> list[str]:
    """Let a new algorithm learn and enqueue what the study file says; return lines for people.

    Raises:
        InputError: every study to start from that cannot be used.
    """
    known, lines = learnt(spec)
    if known:
        algorithm.learn(known)
    if spec.first:
        algorithm.enqueue([spec.space.encode(configuration) for configuration in spec.first])
    return lines


def learnt(spec: StudySpec) -> tuple[list[KnownScore], list[str]]:
    """The scores of the studies in `warm_start` that lie in this one's space, and lines for people.

    Raises:
        InputError: a study that is none, has another objective, or has no score in this space; all of them.
    """
    known: list[KnownScore] = []
    lines: list[str] = []
    problems: list[str] = []
    for path in spec.warm_start:
        try:
            scores, said = _scores_of(path, spec)
        except InputError as error:
            problems += [_at(spec, "warm_start", problem) for problem in error.problems]
        else:
            known += scores
            lines += said
    if problems:
        raise InputError(problems)
    return known, lines


def history_of(path: Path) -> History:
    """What the study of another run directory has come to.

    Raises:
        InputError: it is none.
    """
    try:
        return History.replay(read(path / "ledger.jsonl", states=False))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; give the run directory of a study, "
            "as seen from the study file"
        ) from error
    except LedgerCorrupt as error:
        raise InputError(f"{path}: {error}") from error


def _scores_of(path: Path, spec: StudySpec) -> tuple[list[KnownScore], list[str]]:
    history = history_of(path)
    theirs, ours = history.created.objective, spec.objective
    if (theirs.metric, theirs.direction) != (ours.metric, ours.direction):
        raise InputError(
            f"{path}: its objective is to {theirs.direction} {theirs.metric}, "
            f"this study's to {ours.direction} {ours.metric}: their scores do not compare"
        )
    known, outside = [], 0
    for trial in history.spent:
        if trial.evaluation is None or trial.evaluation.failure is not None:
            continue
        if is_inside(trial.configuration, spec):
            metric = trial.evaluation.metrics[ours.metric]
            point = spec.space.encode(trial.configuration)
            known.append(KnownScore(point, ours.sign * metric.value, metric.stderr))
        else:
            outside += 1
    if not known:
        raise InputError(
            f"{path}: none of its {outside} scores lies in this study's space: parameters, ranges and fixed "
            "values must agree"
        )
    beyond = f", {outside} outside this space" if outside else ""
    lines = [f"warm start from {path}: {len(known)} scores taken{beyond}"]
    if differing := differing_keys(history.created.text, spec.text):
        lines.append(
            f"warm start from {path}: its [evaluation] differs in {', '.join(differing)}: "
            "scores may not compare"
        )
    return known, lines


def _at(spec: StudySpec, key: str, what: str) -> str:
    return TomlFile(spec.path, spec.text, {}).problem((key,), what)


def is_inside(configuration: Configuration, spec: StudySpec) -> bool:
    """True if it is a configuration of this study's space, values that are fixed here included."""
    return not spec.space.problems(configuration) and configuration.keys() >= spec.space.fixed.keys()


def differing_keys(theirs: str, ours: str) -> list[str]:
    """The keys in which the `[evaluation]` of two study files differ."""
    one, other = (tomllib.loads(text).get("evaluation", {}) for text in (theirs, ours))
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
