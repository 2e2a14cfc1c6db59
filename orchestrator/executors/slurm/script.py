"""The batch scripts: of a submission, as submitit writes it, and of one command."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit

from orchestrator.errors import InputError, Problem
from orchestrator.executors import payload
from orchestrator.executors.base import Overrides, Resources

# What is set here, and how a profile asks for it where it may.
_OURS = {
    "time": "use walltime_min",
    "nodes": "use hosts",
    "job_name": "it tells a study's jobs from others",
    "array": "use max_jobs",
    "output": "logs go to the run directory",
    "error": "logs go to the run directory",
    "open_mode": "logs go to the run directory",
    "chdir": "jobs start in the run directory",
    "ntasks": "an evaluation is one process",
    "ntasks_per_node": "an evaluation is one process",
    "parsable": "it changes what sbatch answers",
    "test_only": "use `orchestrator check`",
    "wait": "sbatch must return at once",
    "wrap": "use setup",
}
_GPU_OPTIONS = ("gres", "gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket")
# What an evaluation asks of its host is not for the one core of a command.
_EVALUATION_ONLY = {
    *_GPU_OPTIONS, "gpu_bind", "gpu_freq", "cpus_per_gpu", "mem_per_gpu", "tres_per_task", "tres_bind",
    "cpus_per_task", "exclusive", "requeue", "no_requeue", "dependency", "signal",
}  # fmt: skip


def options(resources: Resources) -> dict[str, Any]:
    """A profile's options by the names submitit gives them.

    Raises:
        InputError: names each option that is not the profile's to set.
    """
    written = {name.lstrip("-").replace("-", "_"): name for name in resources.options}
    if ours := [name for name in written if name in _OURS]:
        raise InputError(
            [Problem(("options", written[name]), f"cannot be set: {_OURS[name]}") for name in ours]
        )
    given = {name: resources.options[as_written] for name, as_written in written.items()}
    return {name: value for name, value in given.items() if value is not False}


def script(resources: Resources, token: str, folder: Path, count: int, overrides: Overrides) -> str:
    """Text of the batch script that runs `count` jobs as one array.

    Raises:
        InputError: an option, a variable, the token or the folder cannot be used.
    """
    payload.check(token, folder)
    sbatch = options(resources)
    if overrides.exclude:
        sbatch["exclude"] = ",".join(
            [*([str(sbatch["exclude"])] if "exclude" in sbatch else []), *overrides.exclude]
        )
    setup = [
        *payload.export_lines(resources.environment),
        *resources.setup,
        payload.link_line(folder, "${SLURM_ARRAY_TASK_ID}", "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"),
    ]
    srun = []
    if resources.hosts > 1:
        srun += ["--nodes=1", "--ntasks=1"]  # one process, on the first host
    if "cpus_per_task" in sbatch:
        srun.append(f"--cpus-per-task={sbatch['cpus_per_task']}")  # since 22.05 srun does not ask the job
    gpus: dict[str, Any] = {}
    if resources.gpus and not any(name in sbatch for name in _GPU_OPTIONS):
        gpus["gpus_per_node"] = resources.gpus
    writer = _Writer(folder, max_num_timeout=0)
    writer.update_parameters(
        job_name=token,
        time=max(1, math.ceil(resources.walltime_with(overrides))),
        nodes=resources.hosts,
        array_parallelism=count,
        wckey=None,  # submitit's default is refused where such keys are checked
        setup=setup,
        srun_args=srun,
        additional_parameters={**gpus, **sbatch, "chdir": str(folder)},
    )
    return writer.text(count, keep_signal="signal" in sbatch)


def command_script(
    resources: Resources, argv: Sequence[str], token: str, folder: Path, *, minutes: float, after: str | None
) -> str:
    """Text of the batch script that runs `argv` on one core, once the job `after` is over.

    It is not requeued: the next job of its chain follows on it, and two masters must not meet.

    Raises:
        InputError: an option, a variable, the token or the folder cannot be used.
    """
    payload.check(token, folder)
    kept = {name: value for name, value in options(resources).items() if name not in _EVALUATION_ONLY}
    ours: dict[str, Any] = {
        "job_name": token,
        "time": max(1, math.ceil(minutes)),
        "nodes": 1,
        "ntasks": 1,
        "cpus_per_task": 1,
        "no_requeue": True,
        "chdir": folder,
        "output": folder / "%j_0_log.out",
        "error": folder / "%j_0_log.err",
    }
    if after is not None:
        ours["dependency"] = f"afterany:{after}"
    flags = [
        f"#SBATCH --{name.replace('_', '-')}" + ("" if value is True else f"={shlex.quote(str(value))}")
        for name, value in (kept | ours).items()
    ]
    setup = [*payload.export_lines(resources.environment), *resources.setup]
    return "\n".join(["#!/bin/bash", *flags, *setup, f"exec {shlex.join(argv)}"]) + "\n"


class _Writer(submitit.SlurmExecutor):  # type: ignore[misc]  # submitit has no types
    """submitit's executor, for the text it would submit."""

    def text(self, count: int, *, keep_signal: bool) -> str:
        self.parameters["map_count"] = count
        command = payload.runner(Path(self.folder))
        lines = str(self._make_submission_file_text(command, "")).splitlines()
        # submitit asks for USR2 before the wall-time ends, and would requeue the job by itself; the
        # evaluation watches its own time, and SLURM's SIGTERM comes in any case.
        kept = [line for line in lines if keep_signal or not line.startswith("#SBATCH --signal=")]
        return "\n".join(kept) + "\n"

    @classmethod
    def affinity(cls) -> int:
        """Wanted anywhere: a script can be looked at on a host without SLURM."""
        return 2
