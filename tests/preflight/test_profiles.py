"""Wrong profiles: each is refused with the line to change and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.preflight import read_checked_profile

SLURM = """\
scheduler = "slurm"
shared_dir = "/shared"
gpus = 4
walltime_min = 60
max_jobs = 3
"""
OAR = SLURM.replace("slurm", "oar")
CHARTER = '[charter]\ntimezone = "Europe/Paris"\n'


def problems_of(directory: Path, text: str) -> list[str]:
    """The problems, each from its line number on."""
    path = directory / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        read_checked_profile(str(path))
    assert all(problem.startswith(str(path)) for problem in refused.value.problems)
    return [problem.removeprefix(f"{path}:") for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SLURM + "strike = 3\n", '6: strike: unknown key; did you mean "strikes"?'),
        (SLURM + 'attempts = "2"\n', "6: attempts: input should be a valid integer, got '2'"),
        (SLURM.replace('shared_dir = "/shared"\n', ""), " shared_dir: is missing: give it a value"),
        (SLURM.replace("/shared", " "), "2: shared_dir: is empty: name a directory"),
        (
            SLURM.replace("/shared", "/sha%red"),
            "2: shared_dir: /sha%red/runs/study/jobs/token: schedulers read %",
        ),
        (SLURM + '[on_failure]\nwaltime = "fail"\n', "7: on_failure.waltime: "),
        (SLURM + '[on_failure]\nkilled = "again"\n', "7: on_failure.killed: "),
        (SLURM + "walltime_max_min = 4\n", "6: walltime_max_min: 4 is less than walltime_min"),
        (SLURM + "gpus_per_trial = 3\n", "6: gpus_per_trial: 3 does not divide gpus = 4: give a divisor"),
        (SLURM + "gpus_per_trial = 8\n", "6: gpus_per_trial: 8 does not divide gpus = 4"),
        (SLURM + "gpus_per_trial = 0\n", "6: gpus_per_trial: "),
        (
            SLURM + "hosts = 2\ngpus_per_trial = 1\n",
            "7: gpus_per_trial: trials with hosts = 2 each share no host",
        ),
        (SLURM + '[on_failure]\nwalltime = "longer"\n', "7: on_failure.walltime: give `walltime_max_min`"),
        (
            SLURM + 'walltime_max_min = 90\n[on_failure]\nout_of_memory = "longer"\n',
            "8: on_failure.out_of_memory: a longer wall-time is no remedy",
        ),
        (
            SLURM + '[on_failure]\ndiverged = "resubmit"\n',
            "7: on_failure.diverged: it would be submitted for ever",
        ),
        (
            SLURM + "[options]\nmem = 3\nntasks-per-node = 4\n",
            "8: options.ntasks-per-node: cannot be set: an evaluation is",
        ),
        (SLURM + "[options]\ntime = 60\n", "7: options.time: cannot be set: use walltime_min"),
        (
            SLURM + "[master]\nwalltime_min = 60\noptions = { time = 5 }\n",
            "8: master.options.time: cannot be set",
        ),
        (
            SLURM + "[master]\nwalltime_min = 1\n",
            "7: master.walltime_min: input should be greater than or equal to 2",
        ),
        (SLURM + '[environment]\n"A-B" = "1"\n', "6: environment: 'A-B' is no name of a variable"),
        (OAR + '[options]\nresource = "/nodes=1"\n', "7: options.resource: cannot be set: use hosts, gpus"),
        (
            OAR + '[options]\ntype = "idempotent"\n',
            "7: options.type: cannot be idempotent: the master decides",
        ),
        (
            OAR.replace("/shared", "/shared/é"),
            "2: shared_dir: /shared/é/runs/study/jobs/token: OAR takes only",
        ),
        (OAR + CHARTER.replace("Paris", "Parris"), "7: charter.timezone: must be a time zone known here"),
        (
            OAR + CHARTER + 'day_start = "9 am"\n',
            '8: charter.day_start: must be a time of day like "09:00", got ',
        ),
        (
            OAR + CHARTER + 'day_start = "20:00"\n',
            '6: charter: day_start "20:00" must be before day_end "19:00"',
        ),
        (
            OAR + CHARTER + "daily_core_hours = 512\n",
            "6: charter: `daily_core_hours` and `cores_per_host` go together",
        ),
        (OAR + CHARTER + "margin_min = 0.2\n", "8: charter.margin_min: 0.2 is less than poll_s = 30"),
        (
            OAR.replace("= 60", "= 4000") + CHARTER,
            "4: walltime_min: 4000 min fit into no day and no night of the charter, 3715 at the most",
        ),
        (
            OAR + "walltime_max_min = 4000\n" + CHARTER,
            "6: walltime_max_min: 4000 min fit into no day and no night of the charter",
        ),
        (
            SLURM.replace("slurm", "local") + "[options]\nmem = 1\n",
            "6: options: the local scheduler has none, remove mem",
        ),
        (SLURM.replace("slurm", "local") + "hosts = 2\n", "6: hosts: "),
        (
            SLURM.replace("slurm", "local") + "[master]\nwalltime_min = 9\n",
            "6: master: the local scheduler runs no",
        ),
    ],
)
def test_a_wrong_profile_is_refused_with_its_line_and_remedy(
    tmp_path: Path, text: str, expected: str
) -> None:
    [problem] = problems_of(tmp_path, text)
    assert problem.startswith(expected)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    text = SLURM + '[on_failure]\ndiverged = "resubmit"\n[options]\ntime = 1\nnodes = 2\n'
    assert [problem.split(":")[0] for problem in problems_of(tmp_path, text)] == ["7", "9", "10"]


def test_exempt_options_free_from_the_charter(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        OAR.replace("= 60", "= 4000")
        + '[options]\ntype = "besteffort"\n'
        + CHARTER
        + 'exempt = ["besteffort"]\n'
    )
    assert read_checked_profile(str(path))[0].walltime_min == 4000
