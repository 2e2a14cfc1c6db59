"""`doctor`: on a real SLURM cluster what it says of right and wrong profiles, and its job on a host."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.probe import storage
from orchestrator.doctor.host import Delays
from tests.clusters.slurm import SlurmCluster
from tests.executors.attempts import ROOT
from tests.fakes.studies import orchestrator, write_synthetic_study

PROFILE = """\
scheduler = "slurm"
shared_dir = "{shared}"
gpus = {gpus}
walltime_min = {walltime_min}
max_jobs = {max_jobs}
grace_s = 2
[environment]
PYTHONPATH = "{root}"
[options]
{options}
"""
LOCAL = 'scheduler = "local"\nshared_dir = "{shared}"\ngpus = 0\nwalltime_min = 5\nmax_jobs = 1\n'


def profile(directory: Path, text: str = PROFILE, **changes: Any) -> Path:
    values: dict[str, Any] = {"shared": directory, "gpus": 0, "walltime_min": 5, "max_jobs": 2, "root": ROOT}
    path = directory / "mine.toml"
    path.write_text(text.format(**{**values, "options": "", **changes}))
    return path


def examined(path: Path, *words: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit code, and the findings by "group: what"; of several of a name the worst."""
    done = orchestrator("doctor", "--profile", path, "--json", *words, cwd=path.parent)
    assert "Traceback" not in done.stderr, done.stderr
    facts = json.loads(done.stdout)
    ranks = ("ok", "warning", "wrong")
    found: dict[str, dict[str, str]] = {}
    for finding in sorted(facts["findings"], key=lambda one: ranks.index(one["mark"])):
        found[f"{finding['group']}: {finding['what']}"] = finding
        assert finding["mark"] == "ok" or finding["remedy"]
    assert facts["wrong"] == sum(one["mark"] == "wrong" for one in facts["findings"])
    return done.returncode, found


def wrong(found: dict[str, dict[str, str]]) -> set[str]:
    return {name for name, finding in found.items() if finding["mark"] == "wrong"}


@pytest.fixture
def short(slurm: SlurmCluster) -> SlurmCluster:
    """The cluster with a partition of 10 minutes on two hosts."""
    if "PartitionName=short" not in slurm.run("scontrol", "--oneliner", "show", "partition"):
        slurm.run("scontrol", "create", "PartitionName=short", "MaxTime=10", "MaxNodes=1", "Nodes=n[1-2]")
    return slurm


def test_a_right_profile_is_found_right(tmp_path: Path, slurm: SlurmCluster) -> None:
    code, found = examined(profile(tmp_path, gpus=4))
    assert (code, wrong(found)) == (0, set())
    assert "SLURM 22.05" in found["SLURM: controller"]["says"]
    assert found["SLURM: accounting"]["says"].startswith("off: not needed")
    assert "4 GPUs a host: 4 hosts of main have them, 4 of those" in found["SLURM: GPUs"]["says"]
    assert "sbatch would take it" in found["SLURM: submission"]["says"]
    assert slurm.run("squeue", "--noheader", "--states=pending,running").strip() == ""


@pytest.mark.parametrize(
    ("changes", "what", "says", "remedy"),
    [
        (
            {"options": 'partition = "mein"'},
            "partition",
            'no partition "mein"; did you mean "main"?',
            '"main" or',
        ),
        ({"gpus": 8}, "GPUs", "8 GPUs a host × 1: main has 4 × a100", "ask for less"),
        ({"options": 'gres = "gpu:h100:1"'}, "GPUs", "1 h100 GPUs a host × 1", "ask for less"),
        ({"options": 'constraint = "infiniband"'}, "GPUs", "with infiniband", "ask for less"),
        (
            {"options": 'partition = "short"', "walltime_min": 11},
            "wall-time",
            "walltime_min = 11: short allows 10",
            'walltime_min = 10 or partition = "main"',
        ),
        (
            {"options": 'partition = "short"', "max_jobs": "2\nwalltime_max_min = 20"},
            "wall-time",
            "walltime_max_min = 20: short allows 10",
            "walltime_max_min = 10",
        ),
        (
            {"options": 'partition = "short"', "gpus": "1\nhosts = 2"},
            "hosts",
            "short gives a job 1",
            "hosts = 1",
        ),
        (
            {"options": '[master]\nwalltime_min = 11\noptions = { partition = "short" }'},
            "master",
            "master.walltime_min = 11: short allows 10",
            "master.walltime_min = 10",
        ),
        ({"options": 'nodelist = "n9"'}, "submission", "nvalid node name", "options.exclude or"),
        ({"options": 'no-such = "x"'}, "submission", "sbatch: unrecognized option", "[options]"),
    ],
)
def test_what_the_cluster_cannot_give_is_wrong(  # noqa: PLR0917
    tmp_path: Path, short: SlurmCluster, changes: dict[str, Any], what: str, says: str, remedy: str
) -> None:
    code, found = examined(profile(tmp_path, **changes))
    finding = found[f"SLURM: {what}"]
    assert (code, finding["mark"]) == (1, "wrong")
    assert says in finding["says"]
    assert remedy in finding["remedy"]


def test_of_several_partitions_one_must_do(tmp_path: Path, short: SlurmCluster) -> None:
    code, found = examined(profile(tmp_path, options='partition = "short,main"', walltime_min=60))
    assert (code, found["SLURM: wall-time"]["mark"]) == (0, "warning")


def test_more_jobs_than_the_cluster_can_hold_are_a_warning(tmp_path: Path, slurm: SlurmCluster) -> None:
    code, found = examined(profile(tmp_path, max_jobs=1001))
    assert (code, found["SLURM: jobs at once"]["mark"]) == (0, "warning")
    assert "MaxArraySize allows 1000" in found["SLURM: jobs at once"]["says"]


def test_accounts_and_qos_are_looked_up(tmp_path: Path, slurm_accounting: SlurmCluster) -> None:
    slurm_accounting.run("sacctmgr", "-i", "add", "account", "alpha")
    slurm_accounting.run("sacctmgr", "-i", "add", "user", "root", "account=alpha", "MaxSubmitJobs=1")
    try:
        _, found = examined(profile(tmp_path, options='account = "alpha"'))
        assert found["SLURM: accounting"]["says"] == "on: sacct answers"
        assert found["SLURM: account"]["mark"] == "ok"
        assert "max_jobs = 2: accounting allows 1" in found["SLURM: jobs at once"]["says"]
        _, found = examined(profile(tmp_path, options='account = "alfa"\nqos = "urgent"'))
        assert 'no account "alfa" of yours; did you mean "alpha"?' in found["SLURM: account"]["says"]
        assert found["SLURM: QOS"]["mark"] == "wrong"
    finally:
        slurm_accounting.run("sacctmgr", "-i", "delete", "user", "root", "account=alpha")
        slurm_accounting.run("sacctmgr", "-i", "delete", "account", "alpha")


def test_a_controller_that_is_down_is_said_and_the_rest_looked_at(
    tmp_path: Path, slurm: SlurmCluster
) -> None:
    path = profile(tmp_path)
    slurm.faults.stop("slurmctld")
    code, found = examined(path)
    assert (code, wrong(found)) == (1, {"SLURM: controller"})
    assert found["Shared directory: operations"]["mark"] == "ok"


def test_without_slurms_commands_it_says_where_to_go(tmp_path: Path) -> None:
    done = orchestrator("doctor", "-p", profile(tmp_path), cwd=tmp_path, environment={"PATH": "/nowhere"})
    assert done.returncode == 1
    assert "not on PATH" in done.stdout
    assert "→ run this on a login node" in done.stdout


def test_a_shared_directory_that_is_not_there_or_no_directory(tmp_path: Path) -> None:
    code, found = examined(profile(tmp_path, LOCAL, shared=tmp_path / "none"))
    assert (code, wrong(found)) == (1, {"Shared directory: directory"})
    assert found["Shared directory: directory"]["remedy"].startswith(f"mkdir -p {tmp_path}/none")
    _, found = examined(profile(tmp_path, LOCAL, shared=tmp_path / "mine.toml"))
    assert "is not a directory" in found["Shared directory: directory"]["says"]


def test_a_study_that_is_not_prepared_is_wrong(tmp_path: Path) -> None:
    path = profile(tmp_path, LOCAL)
    study = write_synthetic_study(tmp_path)
    code, found = examined(path, "--study", str(study))
    assert (code, found["Study: study"]["mark"]) == (0, "ok")
    quickstart = tmp_path / "quickstart.toml"
    quickstart.write_text((ROOT / "studies/quickstart.toml").read_text())
    code, found = examined(path, "--study", str(quickstart))
    assert (code, wrong(found)) == (1, {"Study: cache"})
    study.write_text(study.read_text().replace("branin", "brainin"))
    assert wrong(examined(path, "--study", str(study))[1]) == {"Study: file"}


def test_a_charter_says_when(tmp_path: Path) -> None:
    charter = '[charter]\ntimezone = "UTC"\nday_start = "00:00"\nday_end = "23:59"\ndaily_host_hours = 0.0\n'
    every_day = 'working_days = ["mon", "tue", "wed", "thu", "fri", "sat"]\n'
    _, found = examined(profile(tmp_path, LOCAL + charter + every_day))
    says = found["Charter: jobs"]["says"]
    assert "may start now" in says or says.startswith("not now, from Sat")


def test_a_job_on_a_host_tells_what_it_sees(tmp_path: Path, slurm: SlurmCluster) -> None:
    code, found = examined(profile(tmp_path, options='nodelist = "n3"'), "--submit")
    assert (code, wrong(found)) == (0, set()), found
    for what in ("job", "files", "clock", "operations", "packages", "GPUs", "host", "network"):
        assert found[f"Job on a host: {what}"]["mark"] == "ok"
    assert "as here: python 3." in found["Job on a host: packages"]["says"]
    assert "Job on a host: locks" not in found
    assert not (tmp_path / "doctor").exists()


def test_a_job_without_the_gpus_it_asked_for_is_wrong(tmp_path: Path, slurm: SlurmCluster) -> None:
    code, found = examined(profile(tmp_path, gpus=4), "--submit")
    assert (code, wrong(found)) == (1, {"Job on a host: GPUs"})
    kept = Path(found["Job on a host: kept for you"]["says"])
    assert (
        json.loads((kept / "attempt-1/facts.json").read_text())["environment"]["CUDA_VISIBLE_DEVICES"]
        == "0,1,2,3"
    )


def test_a_job_that_cannot_start_its_program_says_its_last_words(tmp_path: Path, slurm: SlurmCluster) -> None:
    path = profile(tmp_path)
    path.write_text(
        path.read_text().replace("max_jobs", "setup = ['echo no such module >&2; exit 3']\nmax_jobs")
    )
    code, found = examined(path, "--submit")
    assert (code, wrong(found)) == (1, {"Job on a host: job"})
    finding = found["Job on a host: job"]
    assert "no such module" in finding["says"] + Path(finding["remedy"].split()[0]).read_text()


def test_a_job_that_waits_too_long_is_cancelled_with_the_reason(tmp_path: Path, slurm: SlurmCluster) -> None:
    code, found = examined(profile(tmp_path, options='begin = "now+1hour"'), "--submit", "--wait", "0.05")
    assert (code, found["Job on a host: job"]["mark"]) == (0, "warning")
    assert "still waited after 0.05 min" in found["Job on a host: job"]["says"]
    slurm.wait("the job to be gone", lambda: not slurm.run("squeue", "--noheader").strip())


def test_ctrl_c_cancels_the_job(tmp_path: Path, slurm: SlurmCluster) -> None:
    path = profile(tmp_path, options='begin = "now+1hour"')
    words = [sys.executable, "-m", "orchestrator", "doctor", "-p", str(path), "--submit"]
    doctor = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    slurm.wait("the job", lambda: "PENDING" in slurm.squeue().values())
    slurm.wait("the watch to begin", (tmp_path / "doctor").is_dir)
    doctor.send_signal(signal.SIGINT)
    _, said = doctor.communicate(timeout=60)
    assert (doctor.returncode, said.strip()) == (130, "interrupted; the probe job is cancelled")
    slurm.wait("the job to be gone", lambda: not slurm.run("squeue", "--noheader").strip())


def test_the_local_scheduler_is_probed_too(tmp_path: Path) -> None:
    code, found = examined(profile(tmp_path, LOCAL), "--submit")
    assert (code, wrong(found)) == (0, set()), found
    assert "ran on" in found["Job on a host: job"]["says"]


def test_delays_and_clocks_are_told_apart() -> None:
    """A host 100 s ahead; files show after .5 s here and after 2 s there, once after 10 s here."""
    exchanges = [
        {"sent": 100.0, "seen": 0.5, "answered": 0.6, "back": 101.1},
        {"sent": 110.0, "seen": 20.0, "answered": 20.1, "back": 120.6},
    ]
    found = Delays.of(exchanges)
    assert found.host_ahead == pytest.approx(100.0)
    assert found.host_ahead_within == pytest.approx(0.5)
    assert found.to_login == pytest.approx(10.0)
    assert found.to_host == pytest.approx(0.5)


def test_a_lock_held_elsewhere_is_seen(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not storage.lock_is_free(path)
    assert storage.lock_is_free(path)
    assert set(storage.trials(tmp_path).values()) == {""}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("kind", "shared"),
    [("nfs4", True), ("lustre", True), ("fuse.sshfs", True), ("ext4", False), ("tmpfs", False)],
)
def test_kinds_of_filesystems(kind: str, shared: bool) -> None:
    assert storage.is_shared(kind) is shared


def test_a_shared_directory_that_is_not_there_is_not_made_by_a_probe(tmp_path: Path) -> None:
    code, found = examined(profile(tmp_path, LOCAL, shared=tmp_path / "mistyped"), "--submit")
    assert (code, wrong(found)) == (1, {"Shared directory: directory", "Job on a host: submission"})
    assert not (tmp_path / "mistyped").exists()
