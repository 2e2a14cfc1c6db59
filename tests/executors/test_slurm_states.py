"""What SLURM's words mean, and what follows from its silence; no cluster needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.contract import Failure
from orchestrator.errors import InputError, SchedulerError
from orchestrator.executors import State
from orchestrator.executors.command import NoAnswer, answer
from orchestrator.executors.slurm import executor as slurm
from orchestrator.executors.slurm.executor import SlurmExecutor
from orchestrator.executors.slurm.states import account_rows, queue_rows
from orchestrator.executors.slurm.variables import passed_on
from tests.executors.attempts import resources
from tests.fakes.commands import Scripted, row

WORDS = {
    State.PENDING: "PENDING CONFIGURING REQUEUED REQUEUE_FED REQUEUE_HOLD SPECIAL_EXIT RESV_DEL_HOLD",
    State.RUNNING: "RUNNING COMPLETING SIGNALING STAGE_OUT STOPPED SUSPENDED RESIZING",
    State.ENDED: (
        "COMPLETED FAILED CANCELLED TIMEOUT DEADLINE OUT_OF_MEMORY NODE_FAIL BOOT_FAIL PREEMPTED REVOKED "
        "LAUNCH_FAILED"
    ),
    State.UNKNOWN: "SOMETHING_NEW",
}
FAILURES = {
    "TIMEOUT": Failure.WALLTIME,
    "DEADLINE": Failure.WALLTIME,
    "OUT_OF_MEMORY": Failure.OUT_OF_MEMORY,
    "CANCELLED": Failure.CANCELLED,
    "NODE_FAIL": Failure.HOST_FAULT,
    "BOOT_FAIL": Failure.HOST_FAULT,
    "LAUNCH_FAILED": Failure.HOST_FAULT,
    "RECONFIG_FAIL": Failure.HOST_FAULT,
    "PREEMPTED": Failure.PREEMPTED,
    "FAILED": Failure.KILLED,
    "COMPLETED": Failure.KILLED,
}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    said = Scripted()
    monkeypatch.setattr(slurm, "answer", said)
    return said


@pytest.fixture
def executor(said: Scripted) -> SlurmExecutor:
    return SlurmExecutor(resources(), prefix="st-", clock=lambda: said.now)


@pytest.mark.parametrize(("state", "word"), [(s, w) for s, words in WORDS.items() for w in words.split()])
def test_every_word_has_its_state(state: State, word: str) -> None:
    assert queue_rows(row("7_0", word))["7_0"].state.state is state


@pytest.mark.parametrize(("word", "failure"), FAILURES.items())
def test_every_end_has_its_failure_class(word: str, failure: Failure) -> None:
    state = account_rows(f"7_0|{word} by 0|5|n1|0:9|st-1\n")["7_0"].state
    assert (state.state, state.failure, state.reason) == (State.ENDED, failure, "exit code 0:9")


@pytest.mark.parametrize(
    ("text", "seconds"), [("0:00", 0), ("1:02", 62), ("1:00:01", 3601), ("2-01:00:00", 176400)]
)
def test_times_are_read(text: str, seconds: float) -> None:
    rows = queue_rows(f"7_0|RUNNING|{text}|n1|None|any|thing: even bars\n")
    assert rows["7_0"].seconds == seconds
    assert rows["7_0"].name == "any|thing: even bars"


@pytest.mark.parametrize(
    ("reason", "failed"),
    [
        ("launch failed requeued held", True),
        ("JobLaunchFailure", True),
        ("JobHoldMaxRequeue", True),
        ("JobHeldUser", False),
        ("Priority", False),
    ],
)
def test_a_job_that_its_host_could_not_start_is_told_from_one_that_a_person_holds(
    reason: str, failed: bool
) -> None:
    state = queue_rows(f"7_0|PENDING|0:00||{reason}|st-1\n")["7_0"].state
    assert (state.state, state.launch_failed) == (State.PENDING, failed)


def test_accounting_does_not_say_that_a_job_lives() -> None:
    assert account_rows("7_0|RUNNING|5|n1|0:0|st-1\n7_1|PENDING|0|None assigned|0:0|st-1\n") == {}


def test_to_cancel_no_job_nobody_is_asked(executor: SlurmExecutor, said: Scripted) -> None:
    executor.cancel([])
    assert said.calls == []


def test_silence_is_unknown_however_long(executor: SlurmExecutor, said: Scripted) -> None:
    said.queue = NoAnswer("squeue gave no answer within 20 s")
    for said.now in (0.0, 1e6):
        state = executor.poll(["7_0"])["7_0"]
        assert state.state is State.UNKNOWN
        assert "no answer" in state.reason


@pytest.mark.parametrize("accounts", ["", SchedulerError("sacct failed (exit code 1): no connection")])
def test_a_job_nobody_knows_is_lost_after_the_grace_period(
    executor: SlurmExecutor, said: Scripted, accounts: str | Exception
) -> None:
    said.accounts = accounts
    states = []
    for said.now in (0.0, 59.0, 60.0, 61.0):
        states.append(executor.poll(["7_0"])["7_0"].state)
    assert states == [State.UNKNOWN, State.UNKNOWN, State.LOST, State.LOST]


def test_silence_does_not_count_towards_the_grace_period(executor: SlurmExecutor, said: Scripted) -> None:
    executor.poll(["7_0"])
    said.queue, said.now = row("7_0", "RUNNING"), 50.0
    executor.poll(["7_0"])
    said.queue, said.now = "", 70.0
    assert executor.poll(["7_0"])["7_0"].state is State.UNKNOWN


def test_what_left_the_queue_is_asked_of_accounting_in_one_call(
    executor: SlurmExecutor, said: Scripted
) -> None:
    said.queue = row("7_0", "RUNNING")
    said.accounts = (
        "7_1|TIMEOUT|60|n2|0:0|st-1\n7_2|CANCELLED by 0|60|n2|0:15|st-1\n8_0|NODE_FAIL|1|n1|0:0|st-2\n"
    )
    states = executor.poll(["7_0", "7_1", "7_2", "8_0"])
    assert [state.word for state in states.values()] == ["RUNNING", "TIMEOUT", "CANCELLED", "NODE_FAIL"]
    assert states["8_0"].state is State.ENDED  # its last word: it has left the queue
    assert said.calls == ["squeue", "sacct"]
    assert executor.poll(["7_1"])["7_1"].word == "TIMEOUT"
    assert said.calls == ["squeue", "sacct", "squeue"]  # an end is remembered


def test_a_job_that_failed_is_asked_about_once(executor: SlurmExecutor, said: Scripted) -> None:
    said.queue = row("7_0", "FAILED") + row("7_1", "FAILED") + row("7_2", "COMPLETED") + row("7_3", "RUNNING")
    said.preemptions = (
        "7_0  2026-11-23T08:13:11  2026-11-23T08:13:14\n"
        "7_1  2026-11-23T08:13:11  2026-11-23T08:10:00\n"  # of its run before
        "7_2  2026-11-23T08:13:11  N/A\n"
    )
    states = executor.poll(["7_0", "7_1", "7_2", "7_3"])
    assert [state.failure for state in states.values()] == [Failure.PREEMPTED] + 3 * [Failure.KILLED]
    assert said.calls == ["squeue", "squeue"]
    assert executor.poll(["7_0", "7_1", "7_2", "7_3"]) == states
    assert said.calls == ["squeue"] * 3


@pytest.mark.parametrize(
    ("text", "asked_again"), [("connection refused", True), ("accounting storage is disabled", False)]
)
def test_accounting_that_fails_is_left_alone(
    executor: SlurmExecutor, said: Scripted, text: str, asked_again: bool
) -> None:
    said.accounts = SchedulerError(f"sacct failed (exit code 1): {text}")
    for said.now in (0.0, 1.0, 299.0):
        executor.poll(["7_0"])
    assert said.calls.count("sacct") == 1
    said.now = 301.0
    executor.poll(["7_0"])
    assert said.calls.count("sacct") == 1 + asked_again


def test_an_id_under_another_name_is_another_job(executor: SlurmExecutor, said: Scripted) -> None:
    said.queue = row("7_0", "COMPLETED", name="other")
    said.accounts = "7_0|COMPLETED|60|n2|0:0|other\n"
    assert executor.poll(["7_0"])["7_0"].state is State.UNKNOWN
    executor.cancel(["7_0"])
    assert "scancel" not in said.calls


@pytest.mark.parametrize(("word", "settle_s"), [("NODE_FAIL", 15), ("PREEMPTED", 5), ("BOOT_FAIL", 15)])
def test_a_job_that_may_be_requeued_is_awaited(
    executor: SlurmExecutor, said: Scripted, word: str, settle_s: float
) -> None:
    said.queue = row("7_0", word)
    states = []
    for said.now in (0.0, settle_s - 1):
        states.append(executor.poll(["7_0"])["7_0"].state)
    said.queue, said.now = row("7_0", "PENDING"), 40.0
    states.append(executor.poll(["7_0"])["7_0"].state)
    said.queue = row("7_0", word)
    for said.now in (41.0, 41.0 + settle_s):
        states.append(executor.poll(["7_0"])["7_0"].state)
    assert states == [State.UNKNOWN, State.UNKNOWN, State.PENDING, State.UNKNOWN, State.ENDED]


def test_an_array_cancelled_before_it_started_is_one_row(executor: SlurmExecutor, said: Scripted) -> None:
    said.queue = row("7", "CANCELLED")
    assert {state.failure for state in executor.poll(["7_0", "7_1"]).values()} == {Failure.CANCELLED}


@pytest.mark.parametrize(
    ("seen", "gap", "state"),
    [("PENDING", 30, State.ENDED), ("PENDING", 130, State.LOST), ("RUNNING", 30, State.LOST)],
)
def test_what_vanishes_while_it_waits_was_cancelled(
    executor: SlurmExecutor, said: Scripted, seen: str, gap: float, state: State
) -> None:
    said.queue = row("7_0", seen)
    executor.poll(["7_0"])
    said.queue = ""
    for said.now in (gap, gap + 60):
        found = executor.poll(["7_0"])["7_0"]
    assert found.state is state


def test_find_lists_what_may_still_run(executor: SlurmExecutor, said: Scripted) -> None:
    jobs = [
        ("9_10", "PENDING"),
        ("9_2", "RUNNING"),
        ("9_1", "COMPLETED"),
        ("9_0", "NODE_FAIL"),
        ("12", "RUNNING"),  # one of no array: a master
    ]
    said.queue = (
        "".join(row(*job) for job in jobs) + row("3_0", "RUNNING", "st-2") + row("4_0", "RUNNING", "xst-1")
    )
    assert executor.find("st-") == {"st-1": ["9_0", "9_2", "9_10", "12"], "st-2": ["3_0"]}
    said.queue = SchedulerError("squeue failed")
    with pytest.raises(SchedulerError):
        executor.find("st-")


def test_cancel_names_only_what_lives(executor: SlurmExecutor, said: Scripted) -> None:
    said.queue = row("7_0", "COMPLETED") + row("7_1", "RUNNING")
    executor.cancel(["7_0", "7_9"])
    assert said.calls == ["squeue"]
    said.scancel = SchedulerError(
        "scancel: error: Kill job error on job id 7_1: Job/step already completing or completed"
    )
    executor.cancel(["7_0", "7_1"])
    said.scancel = SchedulerError("scancel: error: Access/permission denied")
    with pytest.raises(SchedulerError, match="denied"):
        executor.cancel(["7_1"])


def test_the_script_is_submitits_with_the_profiles_options_verbatim(tmp_path: Path) -> None:
    asked = resources(
        hosts=2, gpus=4, walltime_min=90.5, setup=("module load cuda",), environment={"A": "b c"},
        options={
            "account": "me", "mem": "10GB", "cpus-per-task": 8, "exclusive": True, "requeue": False,
            "comment": "a 'b'",
        },
    )  # fmt: skip
    lines = SlurmExecutor(asked).preview([tmp_path] * 3, "st-1", tmp_path).splitlines()
    for line in (
        "account=me", "mem=10GB", "cpus-per-task=8", "exclusive", "array=0-2%3", "gpus-per-node=4", "nodes=2",
        "time=91", "job-name=st-1", """comment='a '"'"'b'"'"''""", f"chdir={tmp_path}",
    ):  # fmt: skip
        assert f"#SBATCH --{line}" in lines
    text = "\n".join(lines)
    assert "requeue" not in text
    assert "USR2" not in text
    assert "wckey" not in text
    assert lines.index("export A='b c'") < lines.index("module load cuda")
    assert "--nodes=1 --ntasks=1 --cpus-per-task=8" in text


def test_a_profiles_own_gpu_option_replaces_ours(tmp_path: Path) -> None:
    text = SlurmExecutor(resources(gpus=1, options={"gres": "gpu:a100:1"})).preview(
        [tmp_path], "st-1", tmp_path
    )
    assert "#SBATCH --gres=gpu:a100:1" in text
    assert "gpus-per-node" not in text


def test_options_that_are_not_the_profiles_are_refused_together() -> None:
    with pytest.raises(InputError) as refused:
        SlurmExecutor(resources(options={"job-name": "x", "time": 5, "qos": "y"}))
    assert len(refused.value.problems) == 2
    assert "options.time: cannot be set: use walltime_min" in refused.value.problems


def test_variables_that_would_change_answers_are_kept_from_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "SLURM_JOB_ID",
        "SBATCH_JOB_NAME",
        "SQUEUE_FORMAT",
        "SBATCH_ACCOUNT",
        "SBATCH_QOS",
        "SLURM_CONF",
    ):
        monkeypatch.setenv(name, "x")
    kept = passed_on(os.environ, {"qos": "mine"})
    assert {"SBATCH_ACCOUNT", "SLURM_CONF", "PATH"} <= kept.keys()
    assert not {"SLURM_JOB_ID", "SBATCH_JOB_NAME", "SQUEUE_FORMAT", "SBATCH_QOS"} & kept.keys()


@pytest.mark.parametrize(
    ("argv", "error", "said"),
    [
        (["sleep", "600"], NoAnswer, "sleep gave no answer within 0.2 s"),
        (
            ["sh", "-c", "echo no such account >&2; exit 3"],
            SchedulerError,
            r"sh failed \(exit code 3\): no such account",
        ),
        (["no-such-command"], InputError, "no-such-command is not on PATH"),
    ],
)
def test_a_command_that_fails_says_why(argv: list[str], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        answer(argv, 0.2, {"PATH": "/usr/bin:/bin"})
