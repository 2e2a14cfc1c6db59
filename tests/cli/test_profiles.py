"""`profiles`: listing them, showing one, and writing one for the cluster at hand."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.preflight import read_checked_profile
from orchestrator.site import new_profile, oar
from orchestrator.site.slurm import gpus_of, minutes
from tests.clusters.slurm import SlurmCluster
from tests.fakes.studies import orchestrator

MINE = 'scheduler = "slurm"\nshared_dir = "."\ngpus = 1\nwalltime_min = 5\nmax_jobs = 3\n'


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's own profiles."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "orchestrator" / "profiles"
    folder.mkdir(parents=True)
    return folder


def told(*words: str | Path, cwd: Path, code: int = 0) -> str:
    """What it says, on whichever stream."""
    done: subprocess.CompletedProcess[str] = orchestrator(*words, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_a_broken_profile_does_not_break_the_listing(own: Path, tmp_path: Path) -> None:
    (own / "broken.toml").write_text(MINE + "[[")
    (own / "wrong.toml").write_text(MINE + "strike = 1\n[options]\ntime = 5\n")
    (own / "fine.toml").write_text('description = "mine [a]"\n' + MINE)
    text = told("profiles", cwd=tmp_path)
    assert "broken: " in text
    assert "mine [a]" in text
    rows = json.loads(told("profiles", "--json", cwd=tmp_path))
    assert [name for name in rows if rows[name]["path"].startswith(str(own))] == ["broken", "fine", "wrong"]
    assert "is not valid TOML" in rows["broken"]["problems"][0]
    assert f"{own}/wrong.toml:6: strike: unknown key" in rows["wrong"]["problems"][0]
    assert (rows["fine"]["problems"], rows["local"]["scheduler"]) == ([], "local")


def test_show_fills_in_defaults_and_rules(own: Path, tmp_path: Path) -> None:
    rules = 'walltime_max_min = 20\n[on_failure]\nlost = "fail"\n[charter]\ntimezone = "UTC"\n'
    (own / "mine.toml").write_text("# a comment of mine\n" + MINE + rules)
    text = told("profiles", "show", "mine", cwd=tmp_path)
    assert text.startswith(f"{own}/mine.toml\n")
    rows = [line.split() for line in text.splitlines()]
    for row in (
        ["#", "a", "comment", "of", "mine"],
        ["grace_s", "60"],
        ["shared_dir", str(tmp_path)],
        ["charter.day_start", "09:00"],
        ["lost", "fail:", "the", "trial", "has", "no", "score"],
        ["walltime", "longer:", "another", "attempt", "of", "20", "min"],
    ):
        assert row in rows
    facts = json.loads(told("profiles", "show", "mine", "--json", cwd=tmp_path))
    assert (facts["strikes"], facts["rules"]["lost"]) == (2, "fail: the trial has no score")
    assert 'did you mean "mine"' in told("profiles", "show", "mime", cwd=tmp_path, code=2)


def test_new_writes_what_the_cluster_says(own: Path, tmp_path: Path, slurm: SlurmCluster) -> None:
    shared = tmp_path / 'sha "red"'
    text = told("profiles", "new", "here", "--shared-dir", shared, cwd=tmp_path)
    assert f"wrote {own}/here.toml" in text
    assert "orchestrator doctor --profile here" in text
    profile, path = read_checked_profile("here")
    assert (profile.scheduler, profile.gpus, profile.max_jobs, profile.walltime_min) == ("slurm", 4, 4, 60)
    assert (profile.options, profile.shared_path) == ({"partition": "main"}, shared)
    assert "arrays of at most 1000" in path.read_text()
    before = path.read_text()
    assert "exists already" in told("profiles", "new", "here", cwd=tmp_path, code=2)
    assert path.read_text() == before


def test_new_takes_the_partition_that_is_named(own: Path, tmp_path: Path, slurm: SlurmCluster) -> None:
    assert "may be preempted (requeue)" in told("profiles", "new", "--partition", "preempt", cwd=tmp_path)
    assert read_checked_profile("mine")[0].options == {"partition": "preempt"}
    wrong = told("profiles", "new", "x", "--partition", "preemt", cwd=tmp_path, code=2)
    assert 'no partition "preemt"; did you mean "preempt"?' in wrong
    assert not (own / "x.toml").exists()


def test_new_names_the_accounts(own: Path, tmp_path: Path, slurm_accounting: SlurmCluster) -> None:
    slurm_accounting.run("sacctmgr", "-i", "add", "account", "alpha")
    slurm_accounting.run("sacctmgr", "-i", "add", "user", "root", "account=alpha")
    try:
        told("profiles", "new", cwd=tmp_path)
        assert 'account = "alpha"' in (own / "mine.toml").read_text()
        told("doctor", "--profile", "mine", "--json", cwd=tmp_path, code=1)  # its directory is not there yet
    finally:
        slurm_accounting.run("sacctmgr", "-i", "delete", "user", "root", "account=alpha")
        slurm_accounting.run("sacctmgr", "-i", "delete", "account", "alpha")


def test_new_without_a_scheduler_is_a_local_profile(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "neither sbatch nor oarsub is on PATH" in told("profiles", "new", cwd=tmp_path)
    assert read_checked_profile("mine")[0].scheduler == "local"
    assert "sbatch is not on PATH" in told(
        "profiles", "new", "y", "--partition", "main", cwd=tmp_path, code=2
    )
    assert "oarsub is not on PATH" in told("profiles", "new", "y", "--cluster", "chuc", cwd=tmp_path, code=2)


@pytest.mark.parametrize("name", ["a/b", "../x", "x.toml", "", ".hidden"])
def test_new_takes_no_path_for_a_name(name: str) -> None:
    with pytest.raises(InputError, match="letters, digits"):
        new_profile.write(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1-00:00:00", 1440.0),
        ("2-12", 3600.0),
        ("00:10:30", 10.5),
        ("30", 30.0),
        ("1:30", 1.5),
        ("UNLIMITED", None),
    ],
)
def test_slurms_times_are_read(text: str, expected: float | None) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize(
    ("gres", "expected"),
    [
        ("(null)", (0, "")),
        ("gpu:4", (4, "")),
        ("gpu:a100:4(S:0-1)", (4, "a100")),
        ("gpu:a100:2,gpu:v100:1,nvme:1", (3, "")),
        ("craynetwork:4,gpu:mi250:8(S:0-7)", (8, "mi250")),
    ],
)
def test_slurms_gpus_are_counted(gres: str, expected: tuple[int, str]) -> None:
    assert gpus_of(gres) == expected


def test_oars_resources_make_hosts() -> None:
    """Rows as `oarnodes -J` of OAR 2.5.9 gives them: one a core."""
    rows = [
        {
            "host": f"chuc-{host}.lille.grid5000.fr",
            "cluster": "chuc",
            "type": "default",
            "state": "Alive" if host == 1 else "Suspected",
            "gpu": 4 * host + gpu,
            "gpu_model": "A100-SXM4-40GB",
            "core": 100 * host + 10 * gpu + core,
            "besteffort": "YES",
            "available_upto": 0,
        }
        for host in (1, 2)
        for gpu in range(4 if host == 1 else 3)
        for core in range(2)
    ]
    rows.append({"host": "chuc-1.lille.grid5000.fr", "type": "disk", "state": "Alive"})
    first, second = oar._hosts(rows)
    assert (first.gpus, first.cores, first.gpu_type, first.usable) == (4, 8, "A100-SXM4-40GB", True)
    assert (second.gpus, second.usable, second.besteffort, second.walltime_min) == (3, False, True, None)
