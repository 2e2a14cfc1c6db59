"""One command as a job of a real SLURM cluster: how a master is submitted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from orchestrator.errors import InputError, Refused
from orchestrator.executors import JobState, State
from orchestrator.executors.local.executor import LocalExecutor
from orchestrator.executors.slurm.executor import SlurmExecutor
from tests.clusters.slurm import SlurmCluster
from tests.executors.attempts import ENTRY, Run, poll_until, resources, until

SUBMIT = """
import json, os, sys
from pathlib import Path
from orchestrator.executors.slurm.executor import SlurmExecutor
from tests.executors.attempts import ENTRY, Run, resources
executor = SlurmExecutor(resources(gpus=1), ENTRY, prefix="st-")
jobs, _ = Run(Path(sys.argv[1]), executor).submit("st-inner", {})
keys = "SLURM_JOB_ID SLURM_CPUS_ON_NODE SLURM_JOB_NUM_NODES CUDA_VISIBLE_DEVICES".split()
said = {"jobs": jobs, "argv": sys.argv[2:]} | {key: os.environ.get(key) for key in keys}
Path(sys.argv[1], "said.json").write_text(json.dumps(said))
"""


def ended(state: JobState) -> bool:
    return state.state is State.ENDED


def executor(**changes: object) -> SlurmExecutor:
    return SlurmExecutor(resources(gpus=4, **changes), ENTRY, prefix="st-")


def test_a_command_submits_jobs_itself(slurm: SlurmCluster, tmp_path: Path) -> None:
    asked = executor(options={"gres": "gpu:4", "exclusive": True, "cpus-per-task": 8, "comment": "a b"})
    run = Run(tmp_path, asked)
    _, folder = run.prepare("st-master")
    run.path.mkdir(exist_ok=True)
    argv = [sys.executable, "-c", SUBMIT, str(run.path), "a 'b' $HOME"]
    job = asked.submit_command(argv, "st-master", folder, walltime_min=2, after=None)
    state = poll_until(asked, [job], ended, 60)[0]
    log = asked.log(job, folder)
    assert state.word == "COMPLETED", log.read_text()
    said = json.loads((run.path / "said.json").read_text())
    assert (said["SLURM_JOB_ID"], said["argv"]) == (job, ["a 'b' $HOME"])
    assert (said["SLURM_CPUS_ON_NODE"], said["SLURM_JOB_NUM_NODES"]) == ("1", "1")
    assert not said["CUDA_VISIBLE_DEVICES"]
    assert poll_until(asked, said["jobs"], ended, 60)[0].word == "COMPLETED"


def test_a_command_waits_for_the_job_before_it_however_that_ends(slurm: SlurmCluster, tmp_path: Path) -> None:
    asked = executor()
    run = Run(tmp_path, asked)
    first_folder, second_folder = run.prepare("st-1")[1], run.prepare("st-2")[1]
    first = asked.submit_command(["sleep", "600"], "st-1", first_folder, walltime_min=1, after=None)
    second = asked.submit_command(["sleep", "600"], "st-2", second_folder, walltime_min=1, after=first)
    poll_until(asked, [second], lambda state: state.reason == "Dependency")
    assert asked.find("st-") == {"st-1": [first], "st-2": [second]}
    poll_until(asked, [first], lambda state: state.state is State.RUNNING)
    asked.cancel([first])
    poll_until(asked, [second], lambda state: state.state is State.RUNNING, 60)
    # What its scheduler requeued would meet the next master of the chain.
    assert "Requeue=0" in slurm.run("scontrol", "show", "job", second)


def test_a_command_that_cannot_be_a_job_is_refused(slurm: SlurmCluster, tmp_path: Path) -> None:
    nowhere = executor(options={"partition": "nowhere"})
    _, folder = Run(tmp_path, nowhere).prepare("st-master")
    with pytest.raises(Refused, match="invalid partition"):
        nowhere.submit_command(["true"], "st-master", folder, walltime_min=1, after=None)
    with pytest.raises(InputError, match="--detach"):
        LocalExecutor(resources()).submit_command(["true"], "st-master", folder, walltime_min=1, after=None)


def test_a_commands_output_is_in_its_folder(slurm: SlurmCluster, tmp_path: Path) -> None:
    asked = executor()
    _, folder = Run(tmp_path, asked).prepare("st-master")
    job = asked.submit_command(["sh", "-c", "echo said >&2"], "st-master", folder, walltime_min=1, after=None)
    poll_until(asked, [job], ended)
    until(lambda: asked.log(job, folder).read_text() == "said\n", "the log")
