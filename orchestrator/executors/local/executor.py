"""Jobs as processes of this host, launched through submitit's local controller.

Every job is a session of its own: Ctrl-C in the master's terminal does not reach it,
and it outlives the master.
Linux only: a job is known by its process id and the clock tick it started at, which /proc tells.
"""

from __future__ import annotations

import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.contract import Failure
from orchestrator.errors import InputError, Problem, SchedulerError
from orchestrator.executors import payload
from orchestrator.executors.base import Executor, JobState, Overrides, Resources, State
from orchestrator.executors.call import EVALUATE
from orchestrator.executors.local import processes
from orchestrator.executors.local.devices import free_devices
from orchestrator.executors.oar import variables as oar
from orchestrator.executors.slurm import variables as slurm

_TOKEN, _INDEX = "ORCHESTRATOR_TOKEN", "ORCHESTRATOR_INDEX"
_PATIENCE_S = 5.0  # from SIGTERM to SIGKILL


class LocalExecutor(Executor):
    """Starts every job at once: how many run together is for the caller to limit.

    A job's id is "PID-TICK". `setup` lines run in bash before the program, as on a cluster. The job enforces
    its own wall-time; submitit's controller kills it at that time if it does not.
    """

    def __init__(self, resources: Resources, entry: str = EVALUATE, *, prefix: str = "") -> None:  # noqa: ARG002
        """`prefix` is not needed: a process id with the tick it started at is nobody else's."""
        if resources.hosts != 1:
            raise InputError(Problem(("hosts",), f"is {resources.hosts}: the local scheduler has one host"))
        if resources.options:
            names = ", ".join(resources.options)
            raise InputError(Problem(("options",), f"the local scheduler has none, remove {names}"))
        self.resources = resources
        self._entry = entry
        self._children: list[subprocess.Popen[bytes]] = []
        self._walltime_s: dict[str, float] = {}  # of jobs started here
        self._alive_s: dict[str, float] = {}  # job -> its age when it was last seen alive
        self._cancelled: set[str] = set()

    def submit(
        self, attempts: Sequence[Path], token: str, folder: Path, overrides: Overrides = Overrides()
    ) -> list[str]:
        """Start a process for each attempt; see the contract. There is no other host: none is excluded."""
        script = folder / f"{token}.sh"
        text = self.preview(attempts, token, folder, overrides)
        walltime_min = self.resources.walltime_with(overrides)
        trials_per_job = self.resources.trials_per_job
        payload.write_pickles(attempts, folder, self._entry, walltime_min, trials_per_job)
        script.write_text(text, encoding="utf-8")
        jobs = [self._start(script, token, n) for n in range(payload.job_count(attempts, trials_per_job))]
        self._walltime_s.update(dict.fromkeys(jobs, 60 * walltime_min))
        return payload.of_attempts(jobs, attempts, trials_per_job)

    def _start(self, script: Path, token: str, index: int) -> str:
        # Nothing of a job that this master itself may run in.
        inherited = oar.passed_on(slurm.passed_on(os.environ))
        environment = {k: v for k, v in inherited.items() if not k.startswith(processes.JOB)}
        environment |= {_TOKEN: token, _INDEX: str(index)}
        others = [environment for _, environment in processes.leaders(_TOKEN)]
        environment["CUDA_VISIBLE_DEVICES"] = free_devices(self.resources.gpus, others)
        try:
            child = subprocess.Popen(
                ["bash", str(script), str(index)],
                env=environment,
                cwd=script.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise SchedulerError(f"no process for {script}: {error}") from error
        self._children.append(child)
        job = processes.identity(child.pid)
        # Gone already, and not yet reaped: no other process can have this id. Tick 0 is before any process.
        return job or f"{child.pid}-0"

    def poll(self, jobs: Sequence[str]) -> dict[str, JobState]:
        """See the contract. What a job leaves running when its own process is gone is killed here."""
        for child in self._children:
            child.poll()
        self._children = [child for child in self._children if child.returncode is None]
        return {job: self._state(job) for job in jobs}

    def _state(self, job: str) -> JobState:
        age_s = processes.age_s(job)
        if age_s is not None:
            self._alive_s[job] = age_s
            return JobState(State.RUNNING, word="RUNNING", running_s=age_s)
        processes.kill(job)
        if job in self._cancelled:
            return JobState(State.ENDED, word="CANCELLED", failure=Failure.CANCELLED)
        walltime_s = self._walltime_s.get(job, 60 * self.resources.walltime_min)
        # Seen alive when it should have been ending itself, and gone now: the controller killed it.
        if self._alive_s.get(job, 0.0) >= walltime_s - min(60.0, 0.1 * walltime_s):
            return JobState(State.ENDED, word="TIMEOUT", failure=Failure.WALLTIME)
        return JobState(State.ENDED, word="ENDED")

    def cancel(self, jobs: Sequence[str]) -> None:
        """SIGTERM to every process of these jobs, SIGKILL to what is left after 5 s."""
        alive = [job for job in jobs if processes.age_s(job) is not None]
        self._cancelled.update(alive)
        for job in alive:
            processes.terminate(job)
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline and any(processes.age_s(job) is not None for job in alive):
            time.sleep(0.05)
        for job in alive:
            processes.kill(job)

    def find(self, prefix: str) -> dict[str, list[str]]:
        """See the contract; a job is found by the token in its environment."""
        found: dict[str, list[tuple[int, str]]] = {}
        for job, environment in processes.leaders(_TOKEN):
            if (token := environment[_TOKEN]).startswith(prefix):
                found.setdefault(token, []).append((int(environment[_INDEX]), job))
        return {token: [job for _, job in sorted(jobs)] for token, jobs in found.items()}

    def preview(
        self, attempts: Sequence[Path], token: str, folder: Path, overrides: Overrides = Overrides()
    ) -> str:
        """The bash script of the submission; its argument is the index of the attempt."""
        payload.check(token, folder)
        quoted = shlex.quote(str(folder))
        # The variables of submitit.local.local.start_controller; a signal delay of 0 is a USR2 never sent.
        controller = {
            "SUBMITIT_EXECUTOR": "local",
            "SUBMITIT_LOCAL_NTASKS": "1",
            "SUBMITIT_LOCAL_NODEID": "0",
            "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
            "SUBMITIT_LOCAL_TIMEOUT_S": str(math.ceil(60 * self.resources.walltime_with(overrides))),
            "SUBMITIT_LOCAL_SIGNAL_DELAY_S": "0",
            "SUBMITIT_STDERR_TO_STDOUT": "",
            "SUBMITIT_LOCAL_WITH_SHELL": "",
        }
        # The job's program is to know its job by the name the master gives it, not by the bare process id.
        command = f'"env SUBMITIT_LOCAL_JOB_ID=${processes.JOB} "{shlex.quote(payload.runner(folder))}'
        lines = [
            "#!/bin/bash",
            f"# {token}: {len(attempts)} evaluations, each by `bash THIS_SCRIPT INDEX`",
            f"exec >>{quoted}/$$_0_log.out 2>>{quoted}/$$_0_log.err",
            "read -r -a stat </proc/$$/stat",
            f'export {processes.JOB}="$$-${{stat[21]}}"',
            *payload.export_lines(self.resources.environment),
            *self.resources.setup,
            payload.link_line(folder, "$1", f"${{{processes.JOB}}}"),
            *payload.export_lines(controller),
            f"export SUBMITIT_LOCAL_COMMAND={command}",
            f"exec {shlex.join([sys.executable, '-P', '-m', 'submitit.local._local', str(folder)])}",
        ]
        return "\n".join(lines) + "\n"

    def submit_command(self, *_: object, **__: object) -> str:
        """See the contract."""
        raise InputError("the local scheduler has no job for the master itself: start it with --detach")

    def log(self, job: str, folder: Path) -> Path:
        """See the contract; submitit names it by the process id alone."""
        return folder / f"{job.partition('-')[0]}_0_log.err"
