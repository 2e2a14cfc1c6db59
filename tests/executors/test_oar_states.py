"""What OAR's words and events mean, and what follows from its silence; no cluster needed.

`oar_answers.json` holds what a real oarstat said of one job in each situation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contract import Failure
from orchestrator.errors import Full, InputError, Refused, SchedulerError
from orchestrator.executors import State
from orchestrator.executors.base import Overrides
from orchestrator.executors.command import Ended, NoAnswer
from orchestrator.executors.oar import executor as oar
from orchestrator.executors.oar.executor import OarExecutor
from orchestrator.executors.oar.oarsub import refusal
from orchestrator.executors.oar.script import arguments
from orchestrator.executors.oar.states import Row, rows
from orchestrator.executors.oar.variables import passed_on
from tests.executors.attempts import resources

ANSWERS: dict[str, Any] = json.loads(Path(__file__).with_name("oar_answers.json").read_text())
WORDS = {
    State.PENDING: "Waiting Hold toAckReservation toLaunch Launching",
    State.RUNNING: "Running Suspended Resuming Finishing",
    State.ENDED: "Terminated Error",
    State.UNKNOWN: "SomethingNew toError",
}
ENDS = {
    "ok": (Failure.KILLED, "exit code 0"),
    "exit3": (Failure.KILLED, "exit code 3"),
    "sigkill": (Failure.KILLED, "killed by signal 9"),
    "sigterm": (Failure.KILLED, "killed by signal 15"),
    "oardel_running": (Failure.CANCELLED, "User orchestrator-test requested to frag"),
    "oardel_waiting": (Failure.CANCELLED, "User orchestrator-test requested to frag"),
    "walltime": (Failure.WALLTIME, "WALLTIME: "),
    "preempted": (Failure.PREEMPTED, "BESTEFFORT_KILL: "),
    "dead": (Failure.HOST_FAULT, "User root requested to frag"),
    "oarexec": (Failure.HOST_FAULT, "EXTERMINATE_JOB: "),
    "baddir": (Failure.HOST_FAULT, "WORKING_DIRECTORY: "),
    "badout": (Failure.HOST_FAULT, "OUTPUT_FILES: "),
    "prologue": (Failure.HOST_FAULT, "PROLOGUE_ERROR: "),
}


def row_of(name: str) -> Row:
    (row,) = rows(json.dumps(ANSWERS[name])).values()
    return row


def said_of(job: str, word: str, name: str = "st-1", *events: tuple[str, str]) -> dict[str, Any]:
    told = [{"type": kind, "description": text} for kind, text in events]
    return {job: ANSWERS["ok"]["2"] | {"state": word, "name": name, "events": told}}


@dataclass
class Scripted:
    """OAR's commands: what they say next, what they were asked, and the clock."""

    jobs: dict[str, Any] | Exception = field(default_factory=dict)
    oardel: str | Exception = ""
    now: float = 0.0
    calls: list[Sequence[str]] = field(default_factory=list)

    def __call__(self, argv: Sequence[str], timeout_s: float, environment: Mapping[str, str]) -> str:
        self.calls.append(argv)
        if argv[0] == "oardel":
            if isinstance(self.oardel, Exception):
                raise self.oardel
            return self.oardel
        if isinstance(self.jobs, Exception):
            raise self.jobs
        found = {job: said for job, said in self.jobs.items() if job in argv or "-u" in argv}
        return json.dumps(found) if found else ""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    said = Scripted()
    monkeypatch.setattr(oar, "answer", said)
    return said


@pytest.fixture
def executor(said: Scripted) -> OarExecutor:
    return OarExecutor(resources(), prefix="st-", clock=lambda: said.now)


@pytest.mark.parametrize(("state", "word"), [(s, w) for s, words in WORDS.items() for w in words.split()])
def test_every_word_has_its_state(state: State, word: str) -> None:
    (row,) = rows(json.dumps(said_of("7", word))).values()
    assert row.state(0).state is state


@pytest.mark.parametrize(("name", "end"), ENDS.items())
def test_every_end_has_its_failure_class(name: str, end: tuple[Failure, str]) -> None:
    state = row_of(name).state(0)
    assert (state.state, state.failure) == (State.ENDED, end[0])
    assert state.reason.startswith(end[1])


def test_hosts_and_times_are_read() -> None:
    dead, waiting = row_of("dead"), row_of("waiting")
    assert dead.state(0).host == "chuc-1.lille.grid5000.fr,chuc-2.lille.grid5000.fr"
    assert dead.state(0).running_s == 3
    assert row_of("running").state(row_of("running").started_at + 5).running_s == 5
    assert (waiting.state(1e9).running_s, waiting.state(1e9).host) == (None, "")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("hold", "`oarresume 14`"),
        ("resumed", ""),
        ("waiting", ""),
        ("anterior", ""),
        ("nowhere", "no hosts that"),
    ],
)
def test_a_job_that_waits_for_what_never_comes_says_what_to_do(name: str, remedy: str) -> None:
    state = row_of(name).state(0)
    assert state.state is State.PENDING
    assert state.remedy.startswith(remedy)
    assert bool(state.remedy) == bool(remedy)


def test_the_job_that_oar_submitted_again_is_read() -> None:
    assert row_of("prologue").successor == "4"
    assert row_of("dead").successor is None


@pytest.mark.parametrize("text", ["[1]", "{", '{"7": {}}', "Connection refused"])
def test_an_answer_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(SchedulerError, match="cannot be read"):
        rows(text)


def test_to_cancel_no_job_nobody_is_asked(executor: OarExecutor, said: Scripted) -> None:
    executor.cancel([])
    assert said.calls == []


def test_silence_is_unknown_however_long(executor: OarExecutor, said: Scripted) -> None:
    said.jobs = NoAnswer("oarstat gave no answer within 20 s")
    for said.now in (0.0, 1e6):
        state = executor.poll(["7"])["7"]
        assert (state.state, state.provisional) == (State.UNKNOWN, False)
        assert "no answer" in state.reason


def test_a_job_oar_does_not_know_is_lost_after_the_grace_period(
    executor: OarExecutor, said: Scripted
) -> None:
    states = []
    for said.now in (0.0, 59.0, 60.0):
        states.append(executor.poll(["7"])["7"].state)
    assert states == [State.UNKNOWN, State.UNKNOWN, State.LOST]


def test_an_end_is_remembered_and_the_rest_asked_for_in_one_call(
    executor: OarExecutor, said: Scripted
) -> None:
    said.jobs = said_of("7", "Running") | said_of("8", "Terminated")
    assert [state.word for state in executor.poll(["7", "8"]).values()] == ["Running", "Terminated"]
    said.jobs = SchedulerError("oarstat failed")
    states = executor.poll(["7", "8"])
    assert (states["7"].state, states["8"].state) == (State.UNKNOWN, State.ENDED)
    assert said.calls == [["oarstat", "-J", "-f", "-j", "7", "-j", "8"], ["oarstat", "-J", "-f", "-j", "7"]]


def test_an_id_under_another_name_is_another_job(executor: OarExecutor, said: Scripted) -> None:
    said.jobs = said_of("7", "Running", "other")
    assert executor.poll(["7"])["7"].state is State.UNKNOWN
    executor.cancel(["7"])
    assert executor.find("") == {}
    assert not any(argv[0] == "oardel" for argv in said.calls)


@pytest.mark.parametrize(("word", "events"), [("toError", ()), ("Error", (("PROLOGUE_ERROR", "failed"),))])
def test_a_word_that_is_not_the_last_is_awaited(
    executor: OarExecutor, said: Scripted, word: str, events: tuple[tuple[str, str], ...]
) -> None:
    said.jobs = said_of("7", word, "st-1", *events)
    states = [executor.poll(["7"])["7"]]
    said.now = 20.0
    states.append(executor.poll(["7"])["7"])
    assert [state.state for state in states] == [State.UNKNOWN, State.ENDED if events else State.UNKNOWN]
    assert states[0].provisional


def test_the_job_in_the_place_of_another_is_the_same_to_us(executor: OarExecutor, said: Scripted) -> None:
    again = ("RESUBMIT_JOB_AUTOMATICALLY", "[NodeChangeState] Resubmiting job 7 => 8) (due to event …)")
    and_again = ("RESUBMIT_JOB_AUTOMATICALLY", "[NodeChangeState] Resubmiting job 8 => 9) (due to event …)")
    said.jobs = said_of("7", "Error", "st-1", again) | said_of("8", "Error", "st-1", and_again)
    said.jobs |= said_of("9", "Waiting")
    assert executor.poll(["7"])["7"].state is State.PENDING
    said.jobs["9"]["state"] = "Running"
    assert executor.poll(["7"])["7"].state is State.RUNNING
    assert said.calls[-1][-2:] == ["-j", "9"]
    assert len(said.calls) == 4
    OarExecutor(resources()).cancel(["7"])  # of another master, that has not seen it before
    assert said.calls[-1] == ["oardel", "9"]


def test_find_lists_what_may_still_run(executor: OarExecutor, said: Scripted) -> None:
    said.jobs = {}
    for job, word, name in (
        ("10", "Waiting", "st-1"),
        ("9", "Running", "st-1"),
        ("8", "Terminated", "st-1"),
        ("12", "Hold", "st-2"),
        ("13", "Running", "xst-1"),
    ):
        said.jobs |= said_of(job, word, name)
    assert executor.find("st-") == {"st-1": ["9", "10"], "st-2": ["12"]}
    said.jobs = SchedulerError("oarstat failed")
    with pytest.raises(SchedulerError):
        executor.find("st-")


def test_cancel_names_only_what_lives(executor: OarExecutor, said: Scripted) -> None:
    said.jobs = said_of("7", "Error") | said_of("8", "Running")
    executor.cancel(["7", "9"])
    assert [argv[0] for argv in said.calls] == ["oarstat"]
    executor.cancel(["7", "8"])
    assert said.calls[-1] == ["oardel", "8"]
    said.oardel = SchedulerError("oardel failed (exit code 1): you are not the right user")
    with pytest.raises(SchedulerError, match="right user"):
        executor.cancel(["8"])


@pytest.mark.parametrize(
    ("code", "text", "error"),
    [
        (8, "There are not enough resources for your request\n[ERROR] Oarsub failed, …", Refused),
        (254, "[ADMISSION RULE] Error: unknown job type: nosuch", Refused),
        (254, "[ADMISSION RULE] Error: Walltime too big for this job, it is limited to 48 hours", Refused),
        (254, "[ADMISSION RULE] Error: you cannot have more than 50 jobs waiting in the queue", Full),
        (248, "ERROR : The queue nowhere does not exist", Refused),
        (1, "Unknown option: nonsense", Refused),
        (2, "Cannot connect to database", SchedulerError),
        (255, "died", SchedulerError),
        (-9, "", SchedulerError),
    ],
)
def test_only_a_clear_no_is_a_refusal(code: int, text: str, error: type[Exception]) -> None:
    assert type(refusal(Ended(code, "", text))) is error


def test_the_script_is_the_plugins_with_the_profiles_options_verbatim(tmp_path: Path) -> None:
    asked = resources(
        hosts=2, gpus=4, walltime_min=90.5, setup=("module load cuda",), environment={"A": "b c"},
        options={
            "q": "default", "property": "cluster='chuc' AND gpu_count=4", "-t": "night besteffort",
            "project": "me", "notify": "mail:a b", "use_job_key": True, "exotic": False,
        },
    )  # fmt: skip
    text = OarExecutor(asked).preview(
        [tmp_path] * 3, "st-1", tmp_path, Overrides(exclude=("chuc-1.fr", "a,b"))
    )
    argv = arguments(text, tmp_path / "st-1.sh")
    given = list(pairwise(argv))
    clause = "(cluster='chuc' AND gpu_count=4)AND" + "AND".join(
        f"(network_address<>'{host}')" for host in ("chuc-1.fr", "a", "b")
    )
    for pair in (
        ("-l", "/nodes=2/gpu=4,walltime=1:30:30"), ("-q", "default"), ("-p", clause), ("-t", "night"),
        ("-t", "besteffort"), ("--project", "me"), ("--notify", "mail:a b"), ("--array", "3"),
        ("-n", "st-1"), ("-d", str(tmp_path)),
        ("-O", f"{tmp_path}/%jobid%_0_log.out"), ("-E", f"{tmp_path}/%jobid%_0_log.err"),
    ):  # fmt: skip
        assert pair in given
    assert "--use-job-key" in argv
    assert "exotic" not in text
    assert argv[-1] == f"exec /bin/bash {tmp_path}/st-1.sh"
    lines = text.splitlines()
    assert lines.index("export A='b c'") < lines.index("module load cuda")


def test_options_that_are_not_the_profiles_are_refused_together() -> None:
    with pytest.raises(InputError) as refused:
        OarExecutor(
            resources(options={"n": "x", "-l": "core=1", "type": "besteffort idempotent", "project": "y"})
        )
    assert len(refused.value.problems) == 3
    assert "options.-l: cannot be set: use hosts, gpus and walltime_min" in refused.value.problems


def test_a_host_that_is_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no host's name"):
        OarExecutor(resources()).preview([tmp_path], "st-1", tmp_path, Overrides(exclude=("a' OR '1'='1",)))


def test_variables_that_would_change_answers_are_kept_from_oar(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OAR_JOB_KEY_FILE", "OARCONFFILE", "SUBMITIT_EXECUTOR", "HTTP_PROXY"):
        monkeypatch.setenv(name, "x")
    kept = passed_on(os.environ)
    assert {"HTTP_PROXY", "PATH"} <= kept.keys()
    assert not {"OAR_JOB_KEY_FILE", "OARCONFFILE", "SUBMITIT_EXECUTOR"} & kept.keys()
