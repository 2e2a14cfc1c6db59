"""The `litgpt` evaluation: load, train, validate, score, in one process with one model in memory."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from jobs import sandbox
from jobs.data import Sample, cut_short, nested, tokenized
from jobs.failure import EvaluationFailed, one_line
from jobs.prepared import Prepared, library_files, require_prepared, thaw
from jobs.stages import Stages
from orchestrator.errors import InputError
from orchestrator.evaluation import Hyperparameters, LitGPTEvaluation, LocalTask
from orchestrator.trial import Assignment, Configuration, Failure, Metric

if TYPE_CHECKING:
    from litgpt.lora import GPT

    from jobs.evaluate import Measured
    from jobs.group import Group


def measure(
    evaluation: LitGPTEvaluation,
    assignment: Assignment,
    directory: Path,
    stages: Stages,
    group: Group | None = None,
) -> Measured:
    """Metrics of the base model fine-tuned as the configuration says; of the base itself if that is empty.

    Args:
        evaluation: what to do.
        assignment: with which configuration.
        directory: of the attempt.
        stages: takes note of what is done.
        group: the processes that do it; None: this one alone. Only the leader's metrics are those of all.

    Raises:
        EvaluationFailed: for a known reason; any other exception is a defect, or the host's.
    """
    from jobs.evaluate import Measured

    cache = Path(assignment.cache)
    wanted = hyperparameters(assignment.configuration)
    prepared = _required(evaluation, cache)
    os.environ.update(library_files(cache), HF_HOME=str(cache / "huggingface"))
    os.environ["TQDM_DISABLE"] = "1"  # a log is no terminal
    with stages.stage("imports"), _uncollected():
        from jobs import model, score, sharding
        from jobs.group import ALONE
        from jobs.training import Training

        if group is None:
            set_up()
        group = group or ALONE
    with stages.stage("load"):
        place = group.place or model.device(assignment.gpus)
        train, val = (
            samples(thaw(one), evaluation, prepared, cache) for one in (prepared.train, prepared.val)
        )
        for name, documents in (("training", train), ("held out", val)):
            stages.say(f"{name}: {cut_short(documents, evaluation.max_length)}")
        train = nested(train, evaluation.fidelity)
        net = model.load(
            Path(prepared.model),
            wanted,
            evaluation.lora_layers,
            precision=evaluation.precision,
            seed=assignment.seed,
            place=place,
            group=group,
            sharded=evaluation.sharded,
            quantized=evaluation.quantize is not None,
        )
        group = replace(group, lockstep=sharding.is_sharded(net))
        if group.lockstep:
            stages.say(f"the model's weights are in shards over {group.size} processes")
    metrics: dict[str, Metric] = {}
    versions = {"inputs": prepared.digest[:16]}
    if wanted is not None:
        with stages.stage("train"):
            training = Training(
                evaluation,
                wanted,
                train,
                prepared=prepared,
                assignment=assignment,
                directory=directory,
                place=place,
                group=group,
                stages=stages,
            )
            trained = training.of(net)
            if training.lineage is not None:
                versions["training"] = training.lineage
            versions["adapter"] = model.adapter_digest(net)
            if group.lockstep or evaluation.quantize:
                model.narrow(net)
            else:
                model.merge(net)
        metrics["train_loss"] = Metric(value=trained.loss, n=trained.samples)
        metrics["train_seconds"] = Metric(value=trained.seconds)
    net.eval()
    with stages.stage("validate"):
        held_out = nested(val[: evaluation.val_documents], evaluation.score_fidelity)
        metrics["val_loss"] = score.validation_loss(net, held_out, place, stages.progress, group)
    if evaluation.tasks:
        with stages.stage("score"):
            metrics |= _task_scores(net, evaluation, prepared, stages, group)
    return Measured(metrics, model.device_name(place), versions)


@contextmanager
def _uncollected() -> Iterator[None]:
    """What is made inside stays: to look for garbage in it costs seconds, now and when the process ends."""
    if "litgpt" in sys.modules:  # nothing is to be made: what there is may be garbage
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


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


def set_up(processes: int = 1) -> None:
    """As many threads as the scheduler gave cores, and kernels that give the same bits every time.

    Args:
        processes: that share this host's cores.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if "OMP_NUM_THREADS" not in os.environ:
        given = os.environ.get("SLURM_CPUS_PER_TASK", "")
        cores = int(given) if given.isdigit() else len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, cores // processes))
    torch.use_deterministic_algorithms(True, warn_only=True)
    # To fill what is overwritten at once costs a thirtieth of a training, and is no part of the promise.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # its module has none for mypy


def samples(
    data: Sequence[Any], evaluation: LitGPTEvaluation, prepared: Prepared, cache: Path
) -> list[Sample]:
    """`data` as this evaluation tokenizes it."""
    return tokenized(
        data,
        Path(prepared.model),
        prompt_style=evaluation.prompt_style,
        max_length=evaluation.max_length,
        mask_prompt=evaluation.mask_prompt,
        cache=cache,
    )


def _task_scores(
    net: GPT, evaluation: LitGPTEvaluation, prepared: Prepared, stages: Stages, group: Group
) -> dict[str, Metric]:
    from litgpt.tokenizer import Tokenizer

    from jobs import code_eval, language_model, score, tasks

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
    suites = [replace(suite, fidelity=evaluation.score_fidelity) for suite in suites]
    place = next(net.parameters()).device
    scorer = language_model.LitGPTModel(net, Tokenizer(prepared.model), place, stages.progress, group)
    with code_eval.running() if evaluation.executes_code else nullcontext():
        return score.task_scores(scorer, suites)


def _required(evaluation: LitGPTEvaluation, cache: Path) -> Prepared:
    """What must be there before any time of a GPU is spent."""
    try:
        prepared = require_prepared(evaluation, cache, sources=False)
    except InputError as error:
        raise EvaluationFailed(Failure.MISSING_INPUT, "; ".join(error.problems)) from error
    if evaluation.executes_code:
        sandbox.require()
    return prepared
