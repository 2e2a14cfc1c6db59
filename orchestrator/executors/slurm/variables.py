"""The environment variables that SLURM's commands go by, and which of them are passed on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.executors.launchers import without_launchers

CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS")  # which cluster is asked
CHARGE = {name: f"SBATCH_{name.upper()}" for name in ("account", "partition", "qos")}  # option -> variable
_PREFIXES = (
    "SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SINFO_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_",
    "SUBMITIT_",
)  # fmt: skip


def passed_on(environment: Mapping[str, str], options: Iterable[str] = ()) -> dict[str, str]:
    """Return `environment` without the variables that change what SLURM's commands do or answer.

    They are set where a master runs inside a job, or by users for their convenience: SBATCH_JOB_NAME would
    beat the script's. Those that say which cluster is asked are kept, and those that say whom to charge,
    unless one of the profile's `options` does.
    """
    kept = {*CLUSTER, *(variable for name, variable in CHARGE.items() if name not in set(options))}
    mine = without_launchers(environment)  # sbatch hands the environment on to the job
    return {k: v for k, v in mine.items() if k in kept or not k.startswith(_PREFIXES)}
