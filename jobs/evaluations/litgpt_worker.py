"""A `litgpt` evaluation as several processes: what each of them runs, and how the job uses their reports.

`jobs.processes.launch` starts `python -m jobs.evaluations.litgpt_worker ATTEMPT_DIR` once per GPU. Each
process keeps a report beside its log, ranks/COPY.RANK.json: its stage, and at its end its metrics or why it
failed. COPY is the name of the process that started them (`jobs.attempt.directory.copy_name`).
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path

from pydantic import Field, ValidationError

from jobs.attempt import directory as attempt
from jobs.attempt.failure import EvaluationFailed, classified
from jobs.attempt.interruption import Interrupted, Interruption
from jobs.attempt.measured import OFFLINE, Measured
from jobs.attempt.stages import Stages
from jobs.attempt.termination import guarded, leave
from jobs.processes import launch
from jobs.processes.launch import Call
from orchestrator.contract import Assignment, Failure, LitGPTEvaluation, Metric, publish
from orchestrator.contract.attempt import TRIAL
from orchestrator.contract.files import dumps
from orchestrator.contract.strict import Record

MODULE = "jobs.evaluations.litgpt_worker"
_REPORT = "ORCHESTRATOR_REPORT"  # variable of the environment: path of the reports, without .RANK.json
_GRACE_S = 15.0  # to save the state of the training; schedulers wait 30 s by default
_LATER_S = 2.0  # before a process reports a failure that another one's may have caused


class ProcessReport(Record):
    """What a process reports about itself.

    Attributes:
        now: the name of its stage.
        seconds: time that each stage has taken so far.
        trained: share of the training that another attempt would find saved.
    """

    now: str
    seconds: dict[str, float]
    trained: float | None = None
    metrics: dict[str, Metric] = Field(default_factory=dict)
    device: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    peak_memory_bytes: int | None = None
    failure: Failure | None = None
    message: str = ""


def shape(assignment: Assignment) -> tuple[int, int]:
    """The number of hosts, and of processes on each: one per GPU.

    If PyTorch is built without GPUs, or ORCHESTRATOR_DEVICE is "cpu", the latter is ORCHESTRATOR_PROCESSES,
    or one if that is not set.

    Raises:
        EvaluationFailed: ORCHESTRATOR_PROCESSES is no number of processes.
    """
    torch = find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    built = run_path(str(Path(torch.origin).parent / "version.py"))  # importing it all would take seconds
    if (built["cuda"] or built["hip"]) and os.environ.get("ORCHESTRATOR_DEVICE") != "cpu":
        return assignment.hosts, max(1, assignment.gpus)
    asked = os.environ.get("ORCHESTRATOR_PROCESSES", "1")
    if not asked.isdecimal() or not int(asked):
        raise EvaluationFailed(
            Failure.BAD_DATA,
            f"ORCHESTRATOR_PROCESSES is {asked!r}: give environment.ORCHESTRATOR_PROCESSES in the profile as "
            "a number of processes per host",
        )
    return assignment.hosts, int(asked)


def measure(shape: tuple[int, int], directory: Path, stages: Stages) -> Measured:
    """Run the evaluation of the attempt in `directory` as the processes of `shape`.

    Raises:
        EvaluationFailed: a process failed; the text says why the first one did.
        Interrupted: the end was announced; the processes saved what they could, and have ended.
    """
    base = directory / launch.FOLDER / attempt.copy_name()
    call = Call(
        copy=attempt.copy_name(),
        argv=[sys.executable, "-m", MODULE, str(directory)],
        variables={_REPORT: str(base)},
        output=base,
    )
    stages.say(f"the log of the first process: {directory / launch.FOLDER / '0.log'}")
    try:
        end = launch.run_all(call, shape, directory, stages.interruption, _GRACE_S)
    finally:
        if (leader := _read(base, 0)) is not None:
            stages.now, stages.trained = leader.now, leader.trained
            stages.seconds.update(leader.seconds)
    if end is not None:
        own = None if end.rank is None else _read(base, end.rank)
        if own is not None and own.failure is not None:
            raise EvaluationFailed(own.failure, f"rank {end.rank} on {end.host}: {own.message}")
        raise launch.why("the evaluation", end)
    if leader is None or not leader.metrics:
        raise EvaluationFailed(Failure.BAD_RESULT, f"rank 0 left no metrics: see {directory / launch.FOLDER}")
    reports = [_read(base, rank) for rank in range(shape[0] * shape[1])]
    peaks = [one.peak_memory_bytes for one in reports if one and one.peak_memory_bytes]
    return Measured(leader.metrics, leader.device, leader.versions, max(peaks, default=None))


def _read(base: Path, rank: int) -> ProcessReport | None:
    """The report of a process; None if there is none that can be read."""
    try:
        return ProcessReport.model_validate_json(Path(f"{base}.{rank}.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def main(directory: Path) -> int:
    """Work as one of the processes; return the exit status."""
    os.environ.update(OFFLINE)
    interruption, rank = Interruption(), int(os.environ["RANK"])
    path = Path(f"{os.environ[_REPORT]}.{rank}.json")
    stages = Stages(interruption=interruption, on_trained=lambda: tell(Measured({})))

    def tell(found: Measured, failure: Failure | None = None, message: str = "") -> None:
        report = ProcessReport(
            now=stages.now,
            seconds=stages.seconds,
            trained=stages.trained,
            metrics=found.metrics,
            device=found.device,
            versions=found.versions,
            peak_memory_bytes=attempt.peak_memory_bytes(),
            failure=failure,
            message=message,
        )
        publish(path, dumps(report.model_dump(mode="json")))

    with guarded(interruption, limit=None):
        try:
            tell(_measured(directory, stages))
        except Interrupted:
            raise  # the guard ends this process as soon as it sees it
        except Exception as error:  # noqa: BLE001 - it is reported
            traceback.print_exc()
            failure, message = classified(error)
            tell(Measured({}), failure, message)
            if "onnection" in str(error):  # lost, to a process that has failed
                time.sleep(_LATER_S)
            return 1
    return 0


def _measured(directory: Path, stages: Stages) -> Measured:
    """Join the other processes, and do this one's part of the evaluation."""
    assignment = Assignment.model_validate_json((directory / TRIAL).read_bytes())
    evaluation = LitGPTEvaluation.model_validate(assignment.evaluation)
    with stages.stage("imports"):
        from jobs.evaluations import litgpt
        from jobs.model import lora
        from jobs.processes.group import join

        litgpt.set_up(processes=int(os.environ["LOCAL_WORLD_SIZE"]))
    with stages.stage("join"):
        device = lora.find_device(assignment.gpus, int(os.environ["LOCAL_RANK"]))
        group = join(os.environ, device)
    found = litgpt.measure(evaluation, assignment, directory, stages, group)
    group.gathered(None)  # no process ends while another one still needs it
    return found


if __name__ == "__main__":
    leave(main(Path(sys.argv[1])))
