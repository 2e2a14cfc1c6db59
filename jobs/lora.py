"""The `litgpt` evaluation: load, train, validate, score, in one process with one model in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from jobs.data import Sample, nested, tokenized
from jobs.failure import EvaluationFailed, one_line
from jobs.prepared import Prepared, digest, library_files, require_prepared, thaw
from jobs.stages import Stages
from orchestrator.errors import InputError
from orchestrator.evaluation import Hyperparameters, LitGPTEvaluation, LocalTask
from orchestrator.trial import Assignment, Configuration, Failure, Metric

if TYPE_CHECKING:
    from litgpt.lora import GPT

    from jobs.evaluate import Measured
    from jobs.finetune import Recipe, Trained

_ADAPTER = "adapter.pth"


def measure(
    evaluation: LitGPTEvaluation, assignment: Assignment, directory: Path, stages: Stages
) -> Measured:
    """Metrics of the base model fine-tuned as the configuration says; of the base itself if that is empty.

    Raises:
        EvaluationFailed: for a known reason; any other exception is a defect, or the host's.
    """
    from jobs.evaluate import Measured

    cache = Path(assignment.cache)
    wanted = hyperparameters(assignment.configuration)
    try:
        prepared = require_prepared(evaluation, cache, sources=False)
    except InputError as error:
        raise EvaluationFailed(Failure.MISSING_INPUT, "; ".join(error.problems)) from error
    os.environ.update(library_files(cache), HF_HOME=str(cache / "huggingface"))
    with stages.stage("imports"):
        import torch

        _set_up(torch)
        from jobs import finetune, model, score

    with stages.stage("load"):
        place = model.device()
        train, val = (
            _samples(thaw(one), evaluation, prepared, cache) for one in (prepared.train, prepared.val)
        )
        train = nested(train, evaluation.fidelity)
        net = model.load(
            Path(prepared.model),
            wanted,
            evaluation.lora_layers,
            precision=evaluation.precision,
            seed=assignment.seed,
            place=place,
        )
    metrics: dict[str, Metric] = {}
    versions = {"inputs": prepared.digest[:16]}
    if wanted is not None:
        with stages.stage("train"):
            recipe = finetune.recipe(evaluation, wanted, len(train))
            key = digest([prepared.digest, assignment.configuration, assignment.seed, asdict(recipe)])
            folder = directory / "checkpoint"
            trained = _trained(net, train, recipe, assignment.seed, folder=folder, key=key, stages=stages)
            versions["adapter"] = adapter_digest(net)
            model.merge(net)
        metrics["train_loss"] = Metric(value=trained.loss, n=trained.samples)
        metrics["train_seconds"] = Metric(value=trained.seconds)
    net.eval()
    with stages.stage("validate"):
        held_out = val[: evaluation.val_documents]
        metrics["val_loss"] = score.validation_loss(net, held_out, place, stages.progress)
    if evaluation.tasks:
        with stages.stage("score"):
            metrics |= _task_scores(net, evaluation, prepared, stages)
    return Measured(metrics, model.device_name(place), versions)


def hyperparameters(configuration: Configuration) -> Hyperparameters | None:
    """`configuration` checked; None if it is empty.

    Raises:
        EvaluationFailed: a name is unknown or missing, or a value is out of range.
    """
    if not configuration:
        return None
    try:
        return Hyperparameters.model_validate(configuration)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise EvaluationFailed(Failure.BAD_DATA, f"configuration: {one_line(wrong)}: mend [space]") from error


def adapter_digest(net: GPT) -> str:
    from jobs import model

    hashed = hashlib.sha256()
    for name, tensor in sorted(model.adapters(net).items()):
        hashed.update(name.encode() + tensor.numpy().tobytes())
    return hashed.hexdigest()[:16]


def _set_up(torch: Any) -> None:
    """As many threads as the scheduler gave cores, and kernels that give the same bits every time."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if "OMP_NUM_THREADS" not in os.environ:
        given = os.environ.get("SLURM_CPUS_PER_TASK", "")
        torch.set_num_threads(int(given) if given.isdigit() else len(os.sched_getaffinity(0)))
    torch.use_deterministic_algorithms(True, warn_only=True)


def _samples(
    data: Sequence[Any], evaluation: LitGPTEvaluation, prepared: Prepared, cache: Path
) -> list[Sample]:
    return tokenized(
        data,
        Path(prepared.model),
        prompt_style=evaluation.prompt_style,
        max_length=evaluation.max_length,
        mask_prompt=evaluation.mask_prompt,
        cache=cache,
    )


def _trained(
    net: GPT, samples: Sequence[Sample], recipe: Recipe, seed: int, *, folder: Path, key: str, stages: Stages
) -> Trained:
    """Train, or take the adapter that this attempt trained before its job was requeued."""
    import torch

    from jobs import finetune, model

    path = folder / _ADAPTER
    if path.is_file():
        kept = torch.load(path, weights_only=True)
        if kept["key"] == key:
            stages.say(f"the adapter in {path} is used: this attempt trained it before it was interrupted")
            model.set_adapters(net, kept["adapter"])
            return finetune.Trained(**kept["trained"])
    place = next(net.parameters()).device
    stages.say(f"{recipe.steps} steps of {recipe.batch_size} samples out of {len(samples)}")
    trained = finetune.finetune(net, samples, recipe, seed=seed, place=place, progress=stages.progress)
    stages.say(f"loss {trained.loss:.4f}")
    state = model.adapters(net)
    if recipe.learning_rate > 0 and model.is_untouched(state):
        raise RuntimeError(
            f"{recipe.steps} steps at learning rate {recipe.learning_rate:g} changed no adapter weight"
        )
    folder.mkdir(exist_ok=True)
    temporary = folder / f".{_ADAPTER}"
    torch.save({"key": key, "adapter": state, "trained": asdict(trained)}, temporary)
    temporary.replace(path)
    return trained


def _task_scores(
    net: GPT, evaluation: LitGPTEvaluation, prepared: Prepared, stages: Stages
) -> dict[str, Metric]:
    from litgpt.tokenizer import Tokenizer

    from jobs import language_model, score, tasks

    local, documents, suites = [], [], []
    for task, ready in zip(evaluation.tasks, prepared.tasks, strict=True):
        if isinstance(task, LocalTask):
            assert ready.file is not None
            local.append(task)
            documents.append(thaw(ready.file)[: task.limit])
        else:
            suites.append(tasks.stock_suite(task, ready.folders))
    if local:
        suites.insert(0, tasks.local_suite(local, documents))
    place = next(net.parameters()).device
    scorer = language_model.LitGPTModel(net, Tokenizer(prepared.model), place, stages.progress)
    return score.task_scores(scorer, suites)
