"""`doctor` and `profiles new` on a real OAR cluster of two hosts with four GPUs each."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.preflight import read_checked_profile
from tests.clusters.oar import OarCluster
from tests.doctor.test_doctor import examined, profile, wrong
from tests.fakes.studies import orchestrator

PROFILE = """\
scheduler = "oar"
shared_dir = "{shared}"
gpus = {gpus}
walltime_min = {walltime_min}
max_jobs = {max_jobs}
grace_s = 30
[environment]
PYTHONPATH = "{root}"
[options]
{options}
"""
CHUC = "property = \"cluster='chuc'\""


def test_a_right_profile_is_found_right(oar: OarCluster) -> None:
    code, found = examined(profile(oar.shared, PROFILE, gpus=4, options=CHUC))
    assert (code, wrong(found)) == (0, set()), found
    assert "OAR 2.5" in found["OAR: server"]["says"]
    assert "4 a host: 2 hosts of \"cluster='chuc'\" have them, 2 of those" in found["OAR: GPUs"]["says"]


@pytest.mark.parametrize(
    ("options", "gpus", "what", "says", "remedy"),
    [
        ("property = \"cluster='chuk'\"", 1, "hosts", "no host has it", "chuc (2 × 4 A100-SXM4-40GB)"),
        ("property = \"clutser='chuc'\"", 1, "hosts", "no host has it", "chuc (2 × 4 A100-SXM4-40GB)"),
        (CHUC, 8, "GPUs", "0 hosts of \"cluster='chuc'\" have them (2 × 4 A100", "gpus = 4"),
    ],
)
def test_what_the_cluster_cannot_give_is_wrong(  # noqa: PLR0917
    oar: OarCluster, options: str, gpus: int, what: str, says: str, remedy: str
) -> None:
    code, found = examined(profile(oar.shared, PROFILE, gpus=gpus, options=options))
    finding = found[f"OAR: {what}"]
    assert (code, finding["mark"]) == (1, "wrong")
    assert says in finding["says"]
    assert remedy in finding["remedy"]


def test_a_job_on_a_host_tells_what_it_sees(oar: OarCluster) -> None:
    code, found = examined(profile(oar.shared, PROFILE, options=CHUC), "--submit")
    assert (code, wrong(found)) == (0, set()), found
    for what in ("job", "files", "clock", "operations", "packages"):
        assert found[f"Job on a host: {what}"]["mark"] == "ok"


def test_new_writes_what_the_cluster_says(oar: OarCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(oar.shared / "config"))
    words = ["profiles", "new", "--cluster", "chuc", "--shared-dir", str(oar.shared)]
    done = orchestrator(*words, cwd=oar.shared)
    assert done.returncode == 0, done.stderr
    mine, path = read_checked_profile("mine")
    assert (mine.scheduler, mine.gpus, mine.max_jobs) == ("oar", 4, 2)
    assert mine.options == {"queue": "default", "property": "cluster='chuc'"}
    assert mine.charter is not None  # its hosts are called as those of Grid'5000
    assert mine.charter.quota_host_hours == 4  # 2 h of 2 hosts
    assert Path(path).parent == oar.shared / "config/orchestrator/profiles"
    refused = orchestrator("profiles", "new", "other", "--cluster", "chuk", cwd=oar.shared)
    assert (refused.returncode, 'did you mean "chuc"?' in refused.stderr) == (2, True)
