"""The `litgpt` evaluation: load, train, validate and score, all with one model in memory."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.attempt.failure import EvaluationFailed
from jobs.attempt.stages import Stages
from jobs.data.tokens import cut_short, nested, samples
from jobs.inputs import Prepared, require_prepared
from jobs.inputs.hyperparameters import hyperparameters
from jobs.inputs.manifest import library_files, thaw
from jobs.tasks import sandbox
from orchestrator.contract import Assignment, Failure, LitGPTEvaluation, Metric
from orchestrator.contract.evaluation import LocalTask
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from litgpt.lora import GPT

    from jobs.attempt.measured import Measured
    from jobs.processes.group import Group


def measure(
    evaluation: LitGPTEvaluation,
    assignment: Assignment,
    directory: Path,
    stages: Stages,
    group: Group | None = None,
) -> Measured:
    """Measure the base model, fine-tuned as the configuration says; if that is empty, the base model itself.

    Args:
        evaluation: what to do.
        assignment: with which configuration.
        directory: of the attempt.
        stages: takes note of what is done.
        group: the processes that do it together; None: this one alone. The leader alone has all metrics.

    Raises:
        EvaluationFailed: there is no score, for a known reason. Any other exception comes from a defect of
            the program or of the host.
    """
    from jobs.attempt.measured import Measured

    cache = Path(assignment.cache)
    wanted = hyperparameters(assignment.configuration)
    prepared = _required(evaluation, cache)
    os.environ.update(library_files(cache), HF_HOME=str(cache / "huggingface"))
    os.environ["TQDM_DISABLE"] = "1"  # in a log every update of a progress bar is a line
    with stages.stage("imports"), _uncollected():
        from jobs.model import lora, sharding
        from jobs.processes.group import ALONE
        from jobs.tasks import score
        from jobs.training.training import Training

        if group is None:
            set_up()
        group = group or ALONE
    with stages.stage("load"):
        device = group.device or lora.find_device(assignment.gpus)
        train, val = (
            samples(thaw(one), evaluation, Path(prepared.model), cache)
            for one in (prepared.train, prepared.val)
        )
        for name, documents in (("training", train), ("held out", val)):
            stages.say(f"{name}: {cut_short(documents, evaluation.max_length)}")
        train = nested(train, evaluation.fidelity)
        net = lora.load(
            Path(prepared.model),
            wanted,
            evaluation.lora_layers,
            precision=evaluation.precision,
            seed=assignment.seed,
            device=device,
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
                device=device,
                group=group,
                stages=stages,
            )
            trained = training.of(net)
            if training.lineage is not None:
                versions["training"] = training.lineage
            versions["adapter"] = lora.adapter_digest(net)
            if group.lockstep or evaluation.quantize:
                lora.narrow(net)
            else:
                lora.merge(net)
        metrics["train_loss"] = Metric(value=trained.loss, n=trained.samples)
        metrics["train_seconds"] = Metric(value=trained.seconds)
    net.eval()
    with stages.stage("validate"):
        held_out = nested(val[: evaluation.val_documents], evaluation.score_fidelity)
        metrics["val_loss"] = score.validation_loss(net, held_out, device, stages.progress, group)
    if evaluation.tasks:
        with stages.stage("score"):
            metrics |= _task_scores(net, evaluation, prepared, stages, group)
    return Measured(metrics, lora.device_name(device), versions)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Inside, garbage collection is off, while imports create millions of long-lived objects.

    At the end `gc.freeze` moves them out of the collector's reach, so that neither later collections nor the
    interpreter's exit scan them, which would take seconds.
    """
    if "litgpt" in sys.modules:  # imported already: objects made since then may be garbage
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def set_up(processes: int = 1) -> None:
    """Let PyTorch use the cores that the scheduler gave, and kernels that give the same bits every time.

    Args:
        processes: the number of processes that share this host's cores.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if "OMP_NUM_THREADS" not in os.environ:
        given = os.environ.get("SLURM_CPUS_PER_TASK", "")
        cores = int(given) if given.isdigit() else len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, cores // processes))
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling memory that is overwritten at once takes 3 % of a training, and equal results do not need it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # mypy does not find it


def _task_scores(
    net: GPT, evaluation: LitGPTEvaluation, prepared: Prepared, stages: Stages, group: Group
) -> dict[str, Metric]:
    """The scores of `net` on the evaluation's tasks: the local ones in one suite, each other in its own."""
    from litgpt.tokenizer import Tokenizer

    from jobs.tasks import code_eval, language_model, score
    from jobs.tasks import suites as tasks

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
    device = next(net.parameters()).device
    scorer = language_model.LitGPTModel(net, Tokenizer(prepared.model), device, stages.progress, group)
    with code_eval.running() if evaluation.executes_code else nullcontext():
        return score.task_scores(scorer, suites)


def _required(evaluation: LitGPTEvaluation, cache: Path) -> Prepared:
    """The prepared inputs; checked, like the sandbox if it is needed, before any time of a GPU is spent.

    Raises:
        EvaluationFailed: something is missing or has changed, or this host cannot make the sandbox.
    """
    try:
        prepared = require_prepared(evaluation, cache, sources=False)
    except InputError as error:
        raise EvaluationFailed(Failure.MISSING_INPUT, "; ".join(error.problems)) from error
    if evaluation.executes_code:
        sandbox.require()
    return prepared
