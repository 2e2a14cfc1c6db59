"""The master as a chain of jobs of a real OAR cluster."""

from __future__ import annotations

from orchestrator.record import History, RunDirectory
from orchestrator.record.facts import Why
from orchestrator.record.ledger import read
from orchestrator.record.lock import Link
from tests.clusters.oar import ENDED, OarCluster
from tests.fakes.studies import orchestrator, write_synthetic_study

# A link goes on for half a minute.
PROFILE = """
scheduler = "oar"
shared_dir = "{shared}"
hosts = 1
gpus = 2
walltime_min = 5
max_jobs = 2
poll_s = 1
grace_s = 2
[options]
property = "cluster='chuc'"
[environment]
OMP_NUM_THREADS = "1"
ORCHESTRATOR_MASTER_MARGIN_MIN = "1.5"
[master]
walltime_min = 2
"""


def test_a_study_outlives_the_jobs_that_are_its_master_on_oar(oar: OarCluster) -> None:
    study = write_synthetic_study(oar.shared, algorithm="lhs", evaluations=6, seconds=15, profile=PROFILE)
    done = orchestrator("launch", study, "--profile", oar.shared / "profile.toml", "--as-job", cwd=oar.shared)
    assert done.returncode == 0, done.stderr
    run = RunDirectory(oar.shared / "runs/study")

    def history() -> History:
        return History.replay(read(run.ledger))

    oar.wait("the end of the study", lambda: history().ended is not None, seconds=300)
    oar.wait(
        "every job to end",
        lambda: not [job for job, word in oar.jobs().items() if word not in ENDED],
        seconds=120,
    )
    ended = history().ended
    assert ended is not None
    assert ended.why is Why.DONE
    assert [len(trial.attempts) for trial in history().spent] == [1] * 6
    assert all(t.evaluation is not None and t.evaluation.failure is None for t in history().spent)
    newest = Link.newest(run)
    assert newest is not None
    assert newest.number > 2, run.log.read_text()
    assert newest.job == ""
