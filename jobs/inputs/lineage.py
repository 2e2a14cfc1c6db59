"""Which trainings begin alike, so that a longer one can go on from where a shorter one ended.

Two trainings of unequal length take the same first steps if each step looks the same from both: a learning
rate that depends on no end, samples in an order that depends on no number of them, none seen a second time.
"""

from __future__ import annotations

from jobs.inputs.manifest import Prepared, digest
from orchestrator.contract import LitGPTEvaluation
from orchestrator.contract.assignment import Configuration

# Fields of an evaluation, and hyperparameters, that may differ: how far a training goes, and what is measured
# at its end.
_LENGTH = {"fidelity", "steps", "epochs"}
_MEASURED = {"tasks", "score_fidelity", "val_documents"}
FREE = frozenset(_LENGTH | _MEASURED)


def obstacles(evaluation: LitGPTEvaluation, configuration: Configuration) -> list[str]:
    """Why the first steps of such a training depend on its length; empty if they do not."""
    warmup = configuration.get("warmup_fraction", evaluation.warmup_fraction)
    found = []
    if evaluation.order != "fixed":
        found.append('order = "shuffled" mixes samples that a shorter training has not got: "fixed" does not')
    if evaluation.schedule != "constant":
        found.append(f'schedule = "{evaluation.schedule}" ends with the training: "constant" does not')
    if warmup:
        found.append(f"warmup_fraction = {warmup:g} is a part of the whole length: 0 is not")
    return found


def lineage(
    evaluation: LitGPTEvaluation, configuration: Configuration, seed: int, prepared: Prepared
) -> str | None:
    """A digest of everything that decides the first steps of a training, except the kind of host.

    Returns:
        The digest; None if the first steps depend on the length of the training.
    """
    if obstacles(evaluation, configuration):
        return None
    shaped = {name: value for name, value in configuration.items() if name not in _LENGTH}
    marks = [mark.model_dump(mode="json") for mark in prepared.model_files]
    # The model and the data are identified by marks of their files, not by their names.
    section = evaluation.model_dump(mode="json", exclude={*FREE, "model", "data", "val_data", "val_fraction"})
    return digest([marks, prepared.train.sha256, section, shaped, seed])
