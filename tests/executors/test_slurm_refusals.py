"""What a real SLURM refuses, for good or for now, and what it lets wait for ever."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orchestrator.errors import Full, Refused, SchedulerError
from orchestrator.executors import State
from orchestrator.executors.base import Overrides
from orchestrator.executors.slurm.executor import SlurmExecutor
from orchestrator.executors.slurm.reasons import refusal, remedy
from tests.clusters.slurm import SlurmCluster
from tests.executors.attempts import ENTRY, Run, poll_until, resources, started

REFUSALS: list[tuple[dict[str, object], str]] = [
    (
        {"options": {"partition": "nowhere"}},
        r"invalid partition specified: nowhere.*look at options\.partition",
    ),
    ({"options": {"account": "nobody"}}, r"Invalid account.*options\.account"),
    ({"options": {"qos": "nothing"}}, r"Invalid qos.*options\.qos"),
    ({"hosts": 3, "gpus": 9}, r"node configuration is not available.*hosts, gpus"),
    ({"options": {"mem": "99T"}}, r"node configuration is not available"),
    ({"options": {"constraint": "h100"}}, r"Invalid feature.*options\.constraint"),
    ({"options": {"gres": "tpu:1"}}, r"Invalid generic resource.*options\.gres"),
    ({"options": {"exclude": "nowhere"}}, r"Invalid node name.*options\.exclude"),
    ({"options": {"reservation": "none"}}, r"reservation is invalid.*options\.reservation"),
    ({"options": {"licenses": "abaqus"}}, r"Invalid license.*options\.licenses"),
    ({"options": {"mem": "lots"}}, r"Invalid --mem specification.*\[options\]"),
    ({"options": {"no-such-option": 1}}, r"unrecognized option.*\[options\]"),
    ({"options": {"qos": "wall"}, "walltime_min": 6.0}, r"QOSMaxWallDurationPerJobLimit.*lower walltime_min"),
    ({"options": {"qos": "cores", "cpus-per-task": 2}}, r"QOSGrpCpuLimit.*ask for less"),
]
ENDLESS: list[tuple[dict[str, object], str, str]] = [
    ({"hosts": 2, "options": {"partition": "small"}}, "PartitionNodeLimit", "lower hosts"),
    ({"walltime_min": 6.0, "options": {"partition": "small"}}, "PartitionTimeLimit", "lower walltime_min"),
    ({"options": {"cpus-per-task": 99}}, "PartitionConfig", "lower walltime_min, hosts, gpus"),
    ({"options": {"hold": True}}, "JobHeldUser", "scontrol release"),
    ({"walltime_min": 6.0, "options": {"qos": "waitwall"}}, "QOSMaxWallDurationPerJobLimit", "walltime_min"),
    ({"options": {"qos": "waitcores", "cpus-per-task": 2}}, "QOSMaxCpuPerJobLimit", "options.qos"),
]


def executor(**changes: object) -> SlurmExecutor:
    return SlurmExecutor(resources(**changes), ENTRY, answer_s=10)


@pytest.fixture
def full() -> Iterator[SlurmCluster]:
    """A cluster that holds at most 3 jobs."""
    cluster = SlurmCluster(
        Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")), 1, settings={"MaxJobCount": "3"}
    )
    try:
        yield cluster.up()
    finally:
        cluster.down(purge=True)


@pytest.mark.parametrize(("changes", "said"), REFUSALS)
def test_what_slurm_refuses_for_good(
    slurm_limits: SlurmCluster, tmp_path: Path, changes: Mapping[str, object], said: str
) -> None:
    asked = executor(**changes)
    with pytest.raises(Refused, match=said) as refused:
        Run(tmp_path, asked).submit("refused", {})
    assert not isinstance(refused.value, Full)
    assert "\n" not in str(refused.value)
    assert asked.find("refused") == {}


def test_an_array_that_is_too_large_is_taken_in_parts(slurm_limits: SlurmCluster, tmp_path: Path) -> None:
    run = Run(tmp_path, executor())
    with pytest.raises(Full, match="Invalid job array specification"):
        run.submit("large", *[{}] * 6)
    jobs, _ = run.submit("small", *[{}] * 3)
    assert run.executor.find("") == {"small": jobs}


def test_more_jobs_than_a_user_may_submit_are_taken_later(slurm_limits: SlurmCluster, tmp_path: Path) -> None:
    run = Run(tmp_path, executor(options={"qos": "submit"}))
    with pytest.raises(Full, match="QOSMaxSubmitJobPerUserLimit"):
        run.submit("three", {}, {}, {})
    jobs, attempts = run.submit("two", {"sleep": 600}, {"sleep": 600})
    with pytest.raises(Full):
        run.submit("one", {})
    started(*attempts)
    run.executor.cancel(jobs)
    poll_until(run.executor, jobs, lambda state: state.state is State.ENDED)
    run.submit("later", {})


def test_a_controller_that_holds_no_more_jobs_says_so_within_seconds(
    full: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sbatch itself would ask for two minutes."""
    monkeypatch.setenv("SLURM_CONF", full.environment["SLURM_CONF"])
    run = Run(tmp_path, executor(options={"hold": True}))
    taken = {}

    def submit_many() -> None:
        for number in range(9):
            taken[f"job-{number}"] = run.submit(f"job-{number}", {})[0]

    began = time.monotonic()
    with pytest.raises(Full, match="temporarily unable to accept job"):
        submit_many()
    assert time.monotonic() - began < 60
    assert 0 < len(taken) <= 3
    assert run.executor.find("job") == taken


@pytest.mark.parametrize(("changes", "reason", "said"), ENDLESS)
def test_a_job_that_waits_for_ever_has_a_remedy(
    slurm_limits: SlurmCluster, tmp_path: Path, changes: Mapping[str, object], reason: str, said: str
) -> None:
    asked = executor(**changes)
    jobs, _ = Run(tmp_path, asked).submit("endless", {})
    state = poll_until(asked, jobs, lambda state: state.reason == reason)[0]
    assert state.state is State.PENDING
    assert said in state.remedy


def test_a_job_whose_dependency_failed_has_a_remedy(slurm_limits: SlurmCluster, tmp_path: Path) -> None:
    first = slurm_limits.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=exit 1").strip()
    asked = executor(options={"dependency": f"afterok:{first}"})
    jobs, _ = Run(tmp_path, asked).submit("dependent", {})
    state = poll_until(asked, jobs, lambda state: state.reason == "DependencyNeverSatisfied")[0]
    assert "options.dependency" in state.remedy


def test_a_job_requeued_and_held_has_a_remedy(slurm_limits: SlurmCluster, tmp_path: Path) -> None:
    run = Run(tmp_path, executor())
    jobs, attempts = run.submit("held", {"sleep": 600}, {"sleep": 600})
    started(*attempts)
    slurm_limits.run("scontrol", "requeuehold", jobs[0])
    slurm_limits.run("scontrol", "requeuehold", "State=SpecialExit", jobs[1])
    for state in poll_until(run.executor, jobs, lambda state: state.state is State.PENDING):
        assert "scontrol release" in state.remedy
    slurm_limits.run("scontrol", "release", jobs[0])
    poll_until(run.executor, jobs[:1], lambda state: state.state is State.RUNNING, 60)


def test_a_job_that_waits_for_its_turn_needs_no_remedy(slurm_limits: SlurmCluster, tmp_path: Path) -> None:
    run = Run(tmp_path, executor(options={"qos": "running"}))
    jobs, attempts = run.submit("turn", {"sleep": 600}, {})
    started(*attempts[:1])
    state = poll_until(run.executor, jobs[1:], lambda state: state.reason == "QOSMaxJobsPerUserLimit")[0]
    assert (state.state, state.remedy) == (State.PENDING, "")


def test_hosts_are_excluded_besides_those_of_the_profile(slurm_limits: SlurmCluster, tmp_path: Path) -> None:
    asked = executor(options={"exclude": "n1"})
    attempts, folder = Run(tmp_path, asked).prepare("exclude", {}, {})
    overrides = Overrides(walltime_min=2.5, exclude=("n[2-3]",))
    text = asked.preview(attempts, "exclude", folder, overrides)
    assert "#SBATCH --exclude='n1,n[2-3]'" in text
    assert "#SBATCH --time=3\n" in text
    jobs = asked.submit(attempts, "exclude", folder, overrides)
    states = poll_until(asked, jobs, lambda state: state.state is State.ENDED)
    assert {state.host for state in states} == {"n4"}
    with pytest.raises(Refused, match="node configuration is not available"):
        asked.submit(attempts, "nowhere", folder, Overrides(exclude=("n2", "n3", "n4")))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
            SchedulerError,
        ),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect)",
            SchedulerError,
        ),
        ("sbatch: error: Batch job submission failed: Unspecified error", SchedulerError),
        (
            "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or …)",
            Refused,
        ),
        (
            "sbatch: error: Batch job submission failed: User's group not permitted to use this partition",
            Refused,
        ),
        ("sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (…)", Full),
        ("sbatch: error: Batch job submission failed: Resource temporarily unavailable", Full),
        (
            "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Job violates accounting/QOS policy (…)",
            Full,
        ),
    ],
)
def test_only_what_surely_had_no_effect_is_a_refusal(said: str, kind: type[SchedulerError]) -> None:
    assert type(refusal(said)) is kind


@pytest.mark.parametrize(
    "reason",
    [
        "Priority", "Resources", "Dependency", "BeginTime", "JobArrayTaskLimit", "AssocGrpGRES",
        "QOSGrpNodeLimit", "QOSMaxGRESPerUser", "AssocMaxJobsLimit", "AssocGrpCPURunMinutesLimit", "Licenses",
        "PENDING", "",
        "ReqNodeNotAvail, UnavailableNodes:n4", "ReqNodeNotAvail, May be reserved for other job",
        "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
    ],
)  # fmt: skip
def test_reasons_that_may_pass_need_no_remedy(reason: str) -> None:
    assert remedy(reason) == ""


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("launch_failed_requeued_held", "scontrol release"),
        ("AssocGrpCPUMinutesLimit", "options.account"),
        ("QOSGrpWallLimit", "options.qos"),
        ("AssocMaxGRESPerJob", "gpus"),
        ("QOSMinGRES", "gpus"),
        ("QOSMinCpuNotSatisfied", "[options]"),
        ("MaxMemPerLimit", "[options]"),
        ("ReqNodeNotAvail, Reserved for maintenance", "walltime_min"),
        ("REQUEUE_HOLD", "scontrol release"),
        ("InvalidQOS", "options.qos"),
    ],
)
def test_reasons_that_never_pass_have_one(reason: str, said: str) -> None:
    assert said in remedy(reason)
