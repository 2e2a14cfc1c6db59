"""Going on with the best of a study that trained less.

Such a study leaves the adapters of its best trials with all that the rest of their training needs. This one
tries them first, with their configurations and seeds, and each goes on from where it ended: to the very score
that it would have come to from the start.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jobs.inputs import Prepared, lineage, require_prepared
from jobs.inputs.lineage import FREE, obstacles
from orchestrator.config import StudySpec
from orchestrator.config.tomlfile import TomlFile
from orchestrator.contract import LitGPTEvaluation
from orchestrator.contract.assignment import Promoted
from orchestrator.errors import InputError
from orchestrator.preflight.beginning import differing_keys, history_of, is_inside
from orchestrator.preflight.studies import read_launched_study
from orchestrator.record import History, RunDirectory, Trial
from orchestrator.record.summary import kept


def with_promoted(spec: StudySpec, cache: Path) -> tuple[StudySpec, list[str]]:
    """`spec` with the trials that it goes on with, the best first; and lines for people.

    Args:
        spec: as its file says it.
        cache: the shared cache, with what was prepared for it.

    Raises:
        InputError: it cannot go on with any, and every reason why.
    """
    if spec.promote is None:
        return spec, []
    assert isinstance(spec.evaluation, LitGPTEvaluation), "the file was checked"
    run = RunDirectory(spec.promote)
    try:
        history = history_of(run.path)
        theirs = read_launched_study(run, history)
        problems = _problems(spec, theirs, history, run)
    except InputError as error:
        problems = list(error.problems)
    if problems:
        raise InputError([_at(spec, problem) for problem in problems])
    prepared = require_prepared(spec.evaluation, cache)
    found = list[Promoted]()
    outside = list[int]()
    for trial in kept(history, theirs.keep_adapters):
        if not is_inside(trial.configuration, spec):
            outside.append(trial.number)
            continue
        one = Promoted(
            trial=trial.number,
            configuration=trial.configuration,
            seed=theirs.seed_of(trial.number, trial.configuration),
            adapter=str(run.adapter(trial.number)),
        )
        found.append(one)
        problems += _differences(one, trial, spec, prepared, history)
    if not found:
        problems.append(
            f"none of its trials {_listed(outside)} lies in this study's space: parameters, ranges and fixed "
            "values must agree"
        )
    promoted = replace(spec, promoted=tuple(found))
    if (wanted := len(promoted.first)) > spec.most_evaluations:
        problems.append(
            f"{wanted} configurations to try first, and a budget of {spec.most_evaluations} evaluations"
        )
    if problems:
        raise InputError([_at(spec, f"{run.path}: {problem}") for problem in dict.fromkeys(problems)])
    lines = [f"goes on with trials {_listed([one.trial for one in found])} of {run.path}"]
    if outside:
        lines.append(f"trials {_listed(outside)} there lie outside this space and are left")
    return promoted, lines


def _problems(spec: StudySpec, theirs: StudySpec, history: History, run: RunDirectory) -> list[str]:
    """Why the study can go on with no trial of that one, before a trial is looked at."""
    if not isinstance(theirs.evaluation, LitGPTEvaluation):
        return [f"{run.path}: a {theirs.evaluation.kind} evaluation leaves no adapters of ours to go on from"]
    problems = [f"[evaluation] of this study: {what}" for what in _obstacles(spec)]
    problems += [f"[evaluation] of {run.path}: {what}" for what in _obstacles(theirs)]
    if history.ended is None:
        problems.append(
            f"{run.path}: this study has not ended, which are its best is not known: wait, "
            f"or `orchestrator cancel {run.path}`"
        )
    best = kept(history, theirs.keep_adapters)
    if not best:
        why = "keep_adapters = 0 keeps none" if not theirs.keep_adapters else "no trial has a score"
        problems.append(f"{run.path}: has no adapter to go on from: {why}")
    gone = [trial.number for trial in best if not run.adapter(trial.number).is_file()]
    if gone:
        problems.append(f"{run.path}: the adapters of trials {_listed(gone)} are not there any more")
    return problems


def _obstacles(spec: StudySpec) -> list[str]:
    """Why no training of the study begins as a longer one does, whatever its configuration."""
    assert isinstance(spec.evaluation, LitGPTEvaluation)
    own = "warmup_fraction" in spec.space.fixed.keys() | spec.space.parameters.keys()
    return obstacles(spec.evaluation, {"warmup_fraction": 0} if own else {})


def _differences(
    one: Promoted, trial: Trial, spec: StudySpec, prepared: Prepared, history: History
) -> list[str]:
    """Why the first steps of this trial are not those of its training here."""
    assert isinstance(spec.evaluation, LitGPTEvaluation)
    assert trial.evaluation is not None
    if reasons := obstacles(spec.evaluation, one.configuration):
        return [f"trial {one.trial}: {reason}" for reason in reasons]
    theirs = trial.evaluation.versions.get("training")
    if theirs is None:
        what = "its training saw samples a second time, where a longer one sees others"
        return [f"trial {one.trial}: {what}: at most one epoch, and batches that its samples fill, do not"]
    if theirs == lineage(spec.evaluation, one.configuration, one.seed, prepared):
        return []
    keys = [key for key in differing_keys(history.created.text, spec.text) if key not in FREE]
    what = f"[evaluation] differs in {', '.join(keys)}" if keys else "model or data are not the same"
    return [f"{what}: only {', '.join(sorted(FREE))} may differ"]


def _at(spec: StudySpec, what: str) -> str:
    return TomlFile(spec.path, spec.text, {}).problem(("promote",), what)


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
