"""One trial on the compute node: `trial.json` in, `result.json` out, once and whole, whatever happens.

Run as `python -m jobs.evaluate ATTEMPT_DIR`, or submit `evaluate` with the directory's path.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from jobs import attempt, command, ranks
from jobs.failure import EvaluationFailed, check_finite, classified, is_full_disk, one_line
from jobs.guard import GRACE_S, Limit, guarded, leave, margin_s
from jobs.interruption import Interrupted, Interruption
from jobs.stages import Stages
from jobs.synthetic import FUNCTIONS
from orchestrator.evaluation import AnyEvaluation, CommandEvaluation, SyntheticEvaluation
from orchestrator.trial import Assignment, Evaluation, Failure, Metric, Outcome

# Compute nodes have no way out: a library that asked the network would hang, or fetch what no one checked.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_PACKAGES = {"litgpt": ("torch", "litgpt", "lm_eval"), "command": (), "synthetic": ()}


@dataclass(frozen=True)
class Measured:
    """What an evaluation found.

    Attributes:
        device: what it ran on, in words.
        versions: what else identifies it, beside the packages: digests of its inputs and of its adapter.
        peak_memory_bytes: of one process; None: of this one.
    """

    metrics: dict[str, Metric]
    device: str = "cpu"
    versions: dict[str, str] = field(default_factory=dict)
    peak_memory_bytes: int | None = None


def evaluate(attempt_dir: str) -> None:
    """Run the attempt in `attempt_dir`, unless another job has it or it has a result already.

    Raises:
        SystemExit: the result could not be written; the log and stderr say why.
    """
    started_at = time.time()
    directory = Path(attempt_dir).resolve()
    if (why_not := attempt.claim(directory)) is not None:
        print(f"orchestrator: not run: {why_not}", file=sys.stderr)
        return
    os.environ.update(OFFLINE)
    with attempt.logged(directory) as stderr:
        print(f"job {attempt.job_id()} on {attempt.host()}, pid {os.getpid()}: {directory}", flush=True)
        try:
            assignment = Assignment.model_validate_json((directory / attempt.TRIAL).read_bytes())
            _run(assignment, directory, started_at)
        except Exception as error:
            # No result can be written: no trial to write it for, or no space to write it on.
            traceback.print_exc()
            text = f"orchestrator: {directory} has no result: {classified(error)[1]}"
            print(text, flush=True)
            os.write(stderr, f"{text}\n".encode())
            raise SystemExit(1) from error


def _run(assignment: Assignment, directory: Path, started_at: float) -> None:
    walltime_s = None if assignment.walltime_min is None else 60 * assignment.walltime_min
    deadline = None if walltime_s is None else started_at + walltime_s - margin_s(walltime_s)
    interruption = Interruption()
    stages = Stages(deadline, interruption)

    def result(measured: Measured, failure: Failure | None = None, message: str = "") -> Evaluation:
        kind = str(assignment.evaluation.get("kind"))
        return Evaluation(
            outcome=Outcome.OK if failure is None else Outcome.FAILED,
            failure=failure,
            message=message,
            metrics=measured.metrics,
            seconds={name: round(seconds, 3) for name, seconds in stages.seconds.items()},
            trial=assignment.trial,
            attempt=assignment.attempt,
            job=attempt.job_id(),
            host=attempt.host(),
            pid=os.getpid(),
            device=measured.device,
            trained=stages.trained,
            peak_memory_bytes=measured.peak_memory_bytes or attempt.peak_memory_bytes(),
            versions={**_versions(kind), **measured.versions},
            started_at=started_at,
            ended_at=time.time(),
        )

    def out_of_time() -> None:
        assert walltime_s is not None
        saved = "" if stages.trained is None else f" with {stages.trained:.1%} of the training saved"
        message = (
            f"{walltime_s / 60:g} min were not enough, it was at the stage {stages.now!r}{saved}: set "
            "walltime_max_min or raise walltime_min in the run's profile.toml, or have it do less"
        )
        print(message, flush=True)
        attempt.publish_result(directory, result(Measured({}), Failure.WALLTIME, message))

    limit = None
    if deadline is not None and walltime_s is not None:
        limit = Limit(deadline, margin_s(walltime_s) / 2, out_of_time)
    grace_s = float(assignment.evaluation.get("grace_s", GRACE_S))
    with guarded(interruption, limit, grace_s):
        try:
            attempt.reserve(directory)
            measured = measure(assignment, directory, stages)
            check_complete(assignment, measured.metrics)
            found = result(measured)
        except BaseException as error:  # noqa: BLE001 - a failure is a result, whatever it is
            if not isinstance(error, Interrupted):
                traceback.print_exc()
            # What a signal to the whole job broke is no failure of the evaluation: let the guard end it.
            if interruption.is_announced(within_s=0.5):
                threading.Event().wait()
            failure, message = classified(error)
            print(f"failed: {failure}: {message}", flush=True)
            found = result(Measured({}), failure, message)
            _publish(directory, found, error)
        else:
            _publish(directory, found, None)
            print(
                f"done: {', '.join(f'{name} {m.value:.6g}' for name, m in found.metrics.items())}", flush=True
            )


def _publish(directory: Path, found: Evaluation, error: BaseException | None) -> None:
    try:
        attempt.publish_result(directory, found)
    except OSError as unwritten:
        if error is not None and is_full_disk(error):
            raise unwritten from error
        raise


def measure(assignment: Assignment, directory: Path, stages: Stages) -> Measured:
    """Run the evaluation of `assignment`, with `directory` for its files.

    Raises:
        EvaluationFailed: for a known reason; any other exception is a defect, or the host's.
    """
    try:
        evaluation: AnyEvaluation = TypeAdapter(AnyEvaluation).validate_python(assignment.evaluation)
    except ValidationError as error:
        raise EvaluationFailed(Failure.BAD_DATA, f"trial.json: evaluation: {one_line(str(error))}") from error
    if isinstance(evaluation, SyntheticEvaluation):
        with stages.stage("function"):
            return Measured({"value": synthetic(evaluation, assignment.configuration, assignment.seed)})
    if isinstance(evaluation, CommandEvaluation):
        with stages.stage("command"):
            if evaluation.processes == "gpu":
                return Measured(ranks.run(evaluation, assignment, directory, stages.interruption))
            return Measured(command.run(evaluation.command, assignment, directory))
    from jobs import worker  # imports this module

    if (shape := worker.shape(assignment)) != (1, 1):
        return worker.measure(shape, directory, stages)
    with stages.stage("start"):
        from jobs import lora  # imports torch: seconds that the other kinds need not wait
    return lora.measure(evaluation, assignment, directory, stages)


def synthetic(evaluation: SyntheticEvaluation, configuration: Mapping[str, Any], seed: int) -> Metric:
    """The function's value at `configuration`; `noise` is drawn from `seed`."""
    function = FUNCTIONS.get(evaluation.function)
    if function is None:
        known = ", ".join(sorted(FUNCTIONS))
        raise EvaluationFailed(
            Failure.BAD_DATA, f"function {evaluation.function!r} is unknown: give one of {known}"
        )
    if absent := [name for name in function.names if name not in configuration]:
        raise EvaluationFailed(
            Failure.BAD_DATA,
            f"{function.name} needs {', '.join(absent)} in the configuration: name them in [space]",
        )
    time.sleep(evaluation.seconds)
    value = function([float(configuration[name]) for name in function.names])
    if evaluation.noise:
        value += random.Random(seed).gauss(0.0, evaluation.noise)  # noqa: S311 - no secret
    check_finite({"value": value})
    return Metric(value=value, stderr=evaluation.noise or None)


def check_complete(assignment: Assignment, metrics: Mapping[str, Metric]) -> None:
    """
    Raises:
        EvaluationFailed: a metric is not finite, or one that the study asks for is missing.
    """
    check_finite(metrics)
    # The untouched base model was never trained.
    asked = (name for name in assignment.metrics if assignment.configuration or not name.startswith("train_"))
    if absent := [name for name in asked if name not in metrics]:
        given = ", ".join(metrics) or "none"
        raise EvaluationFailed(
            Failure.BAD_RESULT, f"the evaluation gave no metric {', '.join(absent)}: it gave {given}"
        )


def _versions(kind: str) -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in ("orchestrator", *_PACKAGES.get(kind, ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m jobs.evaluate ATTEMPT_DIR")
    evaluate(sys.argv[1])
    leave(0)
