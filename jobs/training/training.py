"""The training of one trial: its recipe, its saved states, its micro-batches and its adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from litgpt.lora import GPT

from jobs.attempt.directory import checkpoint
from jobs.attempt.failure import EvaluationFailed
from jobs.attempt.stages import Stages
from jobs.data.tokens import Sample
from jobs.inputs import Prepared, lineage
from jobs.inputs.manifest import digest
from jobs.model import lora
from jobs.processes.group import Group
from jobs.training import finetune
from jobs.training.finetune import Trained
from jobs.training.micro_batches import MicroBatches
from jobs.training.recipe import Recipe
from jobs.training.state import Beginning, TrainingStates
from orchestrator.contract import Assignment, LitGPTEvaluation
from orchestrator.contract.evaluation import Hyperparameters


class Training:
    """The training of a model's adapters, as a configuration says.

    Attributes:
        recipe: what is done.
        lineage: digest of everything that decides its first steps; None if no longer training can go on from
            its end.
    """

    def __init__(
        self,
        evaluation: LitGPTEvaluation,
        wanted: Hyperparameters,
        samples: Sequence[Sample],
        *,
        prepared: Prepared,
        assignment: Assignment,
        directory: Path,
        device: torch.device,
        group: Group,
        stages: Stages,
    ) -> None:
        """Make the recipe, and find out where states are saved.

        Args:
            evaluation: the study's.
            wanted: the configuration of `assignment`, checked.
            samples: what to learn from.
            prepared: the inputs that `orchestrator prepare` put into the shared cache.
            assignment: of the attempt.
            directory: of the attempt.
            device: this process's device.
            group: the processes that train together.
            stages: writes the log, and keeps the share of the training that is saved.
        """
        self._samples, self._seed, self._device = samples, assignment.seed, device
        self._group, self._stages = group, stages
        self.recipe = Recipe.of(evaluation, wanted, len(samples))
        self._folder = checkpoint(assignment, directory)
        host = [torch.__version__, device.type, group.size]
        key = digest(
            [
                prepared.digest,
                evaluation.model_dump(mode="json"),
                asdict(self.recipe),
                *[assignment.configuration, assignment.seed, *host],
            ]
        )
        ours = lineage(evaluation, assignment.configuration, assignment.seed, prepared)
        once = len(samples) // self.recipe.batch_size  # steps before a sample comes again
        self.lineage = ours if self.recipe.steps <= once else None
        beginning = None
        if ours is not None:
            earlier = None if assignment.goes_on_from is None else Path(assignment.goes_on_from)
            beginning = Beginning(digest([ours, *host]), earlier, min(once, self.recipe.steps))
        self._states = (
            TrainingStates(self._folder, key, self.recipe.steps, stages, beginning) if group.leads else None
        )
        self._memory = _memory(evaluation, prepared, device, Path(assignment.cache))

    def of(self, net: GPT) -> Trained:
        """Train `net`, or go on from what was trained before an interruption, or in a shorter training.

        Raises:
            EvaluationFailed: it diverged.
            Interrupted: the attempt must end; what was reached is kept.
        """
        states, group, stages, recipe = self._states, self._group, self._stages, self.recipe
        if (kept := group.from_leader(None if states is None else states.finished())) is not None:
            stages.say(
                f"the adapter in {self._folder} is used: this trial trained it before its interruption"
            )
            lora.set_adapters(net, kept["adapter"])
            return Trained(**kept["trained"])
        stages.say(f"{recipe.steps} steps of {recipe.batch_size} samples out of {len(self._samples)}")
        with stages.interruption.savable():
            try:
                trained = finetune.finetune(
                    net,
                    self._samples,
                    recipe,
                    seed=self._seed,
                    device=self._device,
                    micro_batches=MicroBatches.on(
                        self._device,
                        net.config.padded_vocab_size,
                        recipe.micro_batch_size,
                        memory=self._memory,
                    ),
                    group=group,
                    states=states,
                    interruption=stages.interruption,
                    progress=stages.progress,
                )
            except EvaluationFailed:
                if states is not None:
                    states.clear()  # a training that diverged would diverge again
                raise
            stages.say(f"loss {trained.loss:.4f}")
            adapter = lora.adapters(net)
            if recipe.learning_rate > 0 and lora.is_untouched(adapter):
                raise RuntimeError(
                    f"{recipe.steps} steps at learning rate {recipe.learning_rate:g} "
                    "changed no adapter weight"
                )
            if states is not None:
                said = {name: getattr(trained, name) for name in ("loss", "samples", "steps", "seconds")}
                end = {"adapter": adapter} if self.lineage is None else trained.end
                states.finish({**end, "trained": said})
        return replace(trained, end={})  # frees memory that scoring may need


def _memory(evaluation: LitGPTEvaluation, prepared: Prepared, device: torch.device, cache: Path) -> Path:
    """The file in the cache that remembers the micro-batches for such a model, data and device."""
    size = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    what = [[mark.model_dump(mode="json") for mark in prepared.model_files], kind, size]
    what += [evaluation.max_length, evaluation.precision, list(evaluation.lora_layers), torch.__version__]
    return cache / "micro-batches" / f"{digest(what)[:32]}.json"
