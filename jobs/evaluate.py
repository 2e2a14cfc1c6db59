"""One attempt at a trial, on a host: reads `trial.json` and writes one whole `result.json`, whatever happens.

Run as `python -m jobs.evaluate ATTEMPT_DIR`, or submit `evaluate` with the directory's path.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from jobs.attempt import directory as attempt
from jobs.attempt.failure import EvaluationFailed, check_finite, classified, is_full_disk, one_line
from jobs.attempt.interruption import Interrupted, Interruption
from jobs.attempt.measured import OFFLINE, Measured
from jobs.attempt.stages import Stages
from jobs.attempt.termination import GRACE_S, Limit, guarded, leave, margin_s
from jobs.evaluations import command
from jobs.evaluations.synthetic import synthetic
from orchestrator.contract import (
    AnyEvaluation,
    Assignment,
    CommandEvaluation,
    Failure,
    Metric,
    Outcome,
    Result,
    SyntheticEvaluation,
)
from orchestrator.contract.attempt import TRIAL

_PACKAGES = {"litgpt": ("torch", "litgpt", "lm_eval"), "command": (), "synthetic": ()}


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
            assignment = Assignment.model_validate_json((directory / TRIAL).read_bytes())
            _run(assignment, directory, started_at)
        except Exception as error:
            # No result can be written: no trial to write it for, or no space to write it on.
            traceback.print_exc()
            text = f"orchestrator: {directory} has no result: {classified(error)[1]}"
            print(text, flush=True)
            os.write(stderr, f"{text}\n".encode())
            raise SystemExit(1) from error


def _run(assignment: Assignment, directory: Path, started_at: float) -> None:
    """Evaluate, and write the result; a failure is a result too.

    Args:
        assignment: what to do.
        directory: of the attempt.
        started_at: when the job began, in seconds since the epoch.
    """
    walltime_s = None if assignment.walltime_min is None else 60 * assignment.walltime_min
    deadline = None if walltime_s is None else started_at + walltime_s - margin_s(walltime_s)
    interruption = Interruption()
    stages = Stages(deadline, interruption)

    def result(measured: Measured, failure: Failure | None = None, message: str = "") -> Result:
        kind = str(assignment.evaluation.get("kind"))
        return Result(
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
            notes = dict.fromkeys([*measured.notes, *check_complete(assignment, measured.metrics)])
            found = result(measured, message=one_line("; ".join(notes)))
        except BaseException as error:  # noqa: BLE001 - a failure is a result, whatever it is
            if not isinstance(error, Interrupted):
                traceback.print_exc()
            # An error that a signal to the whole job caused is no failure of the evaluation: wait for the
            # guard to end this process.
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


def _publish(directory: Path, found: Result, error: BaseException | None) -> None:
    """Write the result of an evaluation that ended with `error`, or well if that is None.

    Raises:
        OSError: it could not be written; caused by `error` if that, too, says that the disk is full.
    """
    try:
        attempt.publish_result(directory, found)
    except OSError as unwritten:
        if error is not None and is_full_disk(error):
            raise unwritten from error
        raise


def measure(assignment: Assignment, directory: Path, stages: Stages) -> Measured:
    """Run the evaluation of `assignment`, with `directory` for its files.

    Raises:
        EvaluationFailed: there is no score, for a known reason. Any other exception comes from a defect of
            the program or of the host.
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
                return command.run_processes(evaluation, assignment, directory, stages.interruption)
            return command.run(evaluation.command, assignment, directory)
    from jobs.evaluations import litgpt_worker  # only this kind needs it

    if (shape := litgpt_worker.shape(assignment)) != (1, 1):
        return litgpt_worker.measure(shape, directory, stages)
    with stages.stage("start"):
        from jobs.evaluations import litgpt  # imports torch, which takes seconds
    return litgpt.measure(evaluation, assignment, directory, stages)


def check_complete(assignment: Assignment, metrics: Mapping[str, Metric]) -> list[str]:
    """Check that an evaluation gave the objective; return notes of the reported metrics that it did not give.

    Raises:
        EvaluationFailed: a metric is not finite, or the objective is missing.
    """
    check_finite(metrics)
    # An empty configuration stands for the untouched base model, which has no training metrics.
    asked = [name for name in assignment.metrics if assignment.configuration or not name.startswith("train_")]
    absent = [name for name in asked if name not in metrics]
    given = ", ".join(metrics) or "none"
    if assignment.objective in absent:
        raise EvaluationFailed(
            Failure.BAD_RESULT, f"the evaluation gave no metric {absent[0]}: it gave {given}"
        )
    return [f"no metric {name}" for name in absent]


def _versions(kind: str) -> dict[str, str]:
    """The versions of Python and of the packages that such an evaluation uses, by name."""
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
