"""Which trainings begin alike, so that a longer one can go on from where a shorter one ended.

Two trainings of unequal length take the same first steps if each step looks the same from both: a learning
rate that depends on no end, samples in an order that depends on no number of them, none seen a second time.
"""

from __future__ import annotations

from jobs.inputs.manifest import Prepared, digest
from orchestrator.contract.assignment import Configuration
from orchestrator.contract.evaluation import LitGPTEvaluation

# What may differ: how far a training goes, and what is measured at its end.
_LENGTH = {"fidelity", "steps", "epochs"}
_MEASURED = {"tasks", "score_fidelity", "val_documents"}
FREE = frozenset(_LENGTH | _MEASURED)


def obstacles(evaluation: LitGPTEvaluation, configuration: Configuration) -> list[str]:
    """Why the length of such a training decides its first steps too; empty if it does not."""
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
    """Digest of all that decides the first steps of a training, on one kind of host.

    Returns:
        None if its length does too.
    """
    if obstacles(evaluation, configuration):
        return None
    shaped = {name: value for name, value in configuration.items() if name not in _LENGTH}
    marks = [mark.model_dump(mode="json") for mark in prepared.model_files]
    # What the model and the data are is said by their marks, not by their names.
    section = evaluation.model_dump(mode="json", exclude={*FREE, "model", "data", "val_data", "val_fraction"})
    return digest([marks, prepared.train.sha256, section, shaped, seed])
