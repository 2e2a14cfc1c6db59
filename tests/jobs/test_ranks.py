"""A command as several processes: what each is told, and that all end with the first that fails."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.attempt.failure import EvaluationFailed
from jobs.processes import hosts
from orchestrator.contract import Failure, Outcome
from tests.jobs.attempts import ROOT, attempt, command, environment, log, result, run, start

PROGRAM = str(ROOT / "tests/jobs/rank_program.py")


def assigned(directory: Path, order: dict[str, Any], **changes: Any) -> Path:
    evaluation = {**command(sys.executable, PROGRAM), "processes": "gpu"}
    fields = {"configuration": order, "gpus": 2, "metrics": ["sum"], "evaluation": evaluation, **changes}
    return attempt(directory, **fields)


def seen(directory: Path, count: int) -> list[dict[str, Any]]:
    """What the ranks wrote, once all have."""
    files = [directory / f"seen-{rank}.json" for rank in range(count)]
    until(lambda: all(file.exists() for file in files), f"{count} ranks to start")
    return [json.loads(file.read_text()) for file in files]


def until(holds: Callable[[], bool], what: str, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)


def assert_gone(told: list[dict[str, Any]]) -> None:
    """Neither a rank, nor what watches it, nor what it left in the background lives."""

    def alive() -> list[int]:
        return [pid for one in told for pid in one["pids"] if _alive(pid)]

    until(lambda: not alive(), "the ranks to be gone", 30)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_each_rank_is_told_its_place(tmp_path: Path) -> None:
    directory = assigned(tmp_path, {"x": 1}, gpus=3)
    assert run(directory, CUDA_VISIBLE_DEVICES="4,5,7") == (0, "")
    assert result(directory).metrics["sum"].value == 1.0
    told = seen(directory, 3)
    assert [(one["RANK"], one["LOCAL_RANK"]) for one in told] == [("0", "0"), ("1", "1"), ("2", "2")]
    alike = {name: {one[name] for one in told} for name in told[0] if name.isupper()}
    assert alike["WORLD_SIZE"] == alike["LOCAL_WORLD_SIZE"] == {"3"}
    assert alike["CUDA_VISIBLE_DEVICES"] == {"4,5,7"}
    assert (alike["MASTER_ADDR"], len(alike["MASTER_PORT"])) == ({"127.0.0.1"}, 1)
    assert alike["ORCHESTRATOR_TRIAL"] == {"7"}
    assert alike["ORCHESTRATOR_CHECKPOINT"] == {str(directory / "checkpoint")}
    assert_gone(told)


def test_without_gpus_it_is_one_process_a_host(tmp_path: Path) -> None:
    directory = assigned(tmp_path, {"x": 1}, gpus=0)
    assert run(directory) == (0, "")
    assert seen(directory, 1)[0]["WORLD_SIZE"] == "1"


def test_a_rank_that_fails_ends_all_and_is_named(tmp_path: Path) -> None:
    directory = assigned(tmp_path, {"wait": True, "exit": 1})
    assert run(directory) == (0, "")
    found = result(directory)
    assert found.failure is Failure.PROGRAM_ERROR
    assert "rank 1 on " in found.message
    assert "exited with 1. Its last words: rank 1 gives up" in found.message
    assert_gone(seen(directory, 2))


@pytest.mark.parametrize("victim", ["program", "its watcher"])
def test_a_rank_that_is_killed_ends_all_and_is_named(tmp_path: Path, victim: str) -> None:
    directory = assigned(tmp_path, {"wait": True})
    process = start(directory)
    told = seen(directory, 2)
    os.kill(told[1]["pids"][victim != "program"], signal.SIGKILL)
    process.communicate(timeout=60)
    found = result(directory)
    assert found.failure is Failure.KILLED
    assert "rank 1 on " in found.message
    assert "killed by signal 9" in found.message
    assert_gone(told)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_ranks_may_save_themselves_when_the_job_is_to_end(tmp_path: Path, number: signal.Signals) -> None:
    directory = assigned(tmp_path, {"wait": True}, checkpoint=str(tmp_path / "shared"))
    process = start(directory)
    told = seen(directory, 2)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert not (directory / "result.json").exists()
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == ["rank-0", "rank-1"]
    assert_gone(told)


def test_ranks_do_not_outlive_a_leader_that_is_killed(tmp_path: Path) -> None:
    directory = assigned(tmp_path, {"wait": True})
    process = start(directory)
    told = seen(directory, 2)
    process.kill()
    process.communicate(timeout=60)
    assert_gone(told)


def test_a_program_that_cannot_start_is_missing(tmp_path: Path) -> None:
    evaluation = {**command("no-such-program"), "processes": "gpu"}
    directory = assigned(tmp_path, {"x": 1}, evaluation=evaluation)
    assert run(directory) == (0, "")
    assert result(directory).failure is Failure.MISSING_INPUT
    assert "No such file" in result(directory).message


# -- OAR, of which the node file and a stand-in for its ssh are enough ---------------------------------------


@pytest.fixture
def oar(tmp_path: Path) -> dict[str, str]:
    """Environment of a job on two hosts; the second's processes get nothing of the leader's environment."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = f"""#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
echo "$1" >> {folder}/asked
exec env -i PATH="$PATH" HOSTNAME="$1" sh -c "$2"
"""
    (folder / "oarsh").write_text(script)
    (folder / "oarsh").chmod(0o755)
    (tmp_path / "nodes").write_text("localhost\nlocalhost\nchuc-2\nchuc-2\n")
    path = f"{folder}:{os.environ['PATH']}"
    return {"OAR_JOB_ID": "5", "OAR_NODEFILE": str(tmp_path / "nodes"), "PATH": path, "OF_THE_LEADER": "a b"}


def test_oar_hosts_are_those_of_the_node_file(tmp_path: Path, oar: dict[str, str]) -> None:
    directory = assigned(tmp_path / "it's", {"x": 1}, hosts=2)
    assert run(directory, **oar, CUDA_VISIBLE_DEVICES="0,1") == (0, "")
    assert result(directory).outcome is Outcome.OK, result(directory).message
    told = seen(directory, 4)
    assert [(one["RANK"], one["LOCAL_RANK"]) for one in told] == [
        ("0", "0"), ("1", "1"), ("2", "0"), ("3", "1")
    ]  # fmt: skip
    assert {(one["WORLD_SIZE"], one["LOCAL_WORLD_SIZE"]) for one in told} == {("4", "2")}
    assert {one["MASTER_ADDR"] for one in told} == {"localhost"}
    assert {one["OF_THE_LEADER"] for one in told} == {"a b"}
    assert [one.get("CUDA_VISIBLE_DEVICES") for one in told] == ["0,1", "0,1", None, None]
    assert (tmp_path / "bin" / "asked").read_text().split() == ["chuc-2"] * 2
    assert_gone(told)


def test_ranks_of_another_host_end_with_the_leader(tmp_path: Path, oar: dict[str, str]) -> None:
    directory = assigned(tmp_path / "a", {"wait": True}, hosts=2)
    process = start(directory, **oar)
    told = seen(directory, 4)
    process.kill()
    process.communicate(timeout=60)
    assert_gone(told)


def test_the_remote_command_is_one_line_and_quoted(tmp_path: Path) -> None:
    argv = hosts.oarsh_argv("chuc-2", ["/my python", "process.py"], 5, 1)
    assert argv[0] == "oarsh"
    assert argv[-2] == "chuc-2"
    assert shlex.split(argv[-1]) == ["/my python", "process.py", "5", "1"]
    nodes = tmp_path / "nodes"
    nodes.write_text("chuc-2\nchuc-2\nchuc-1\nchuc-2\n")
    assert hosts.oar_hosts({"OAR_NODEFILE": str(nodes)}) == ["chuc-2", "chuc-1"]
    assert hosts.oar_hosts({}) == []


def test_hosts_that_are_not_there_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", environment())
    with pytest.raises(EvaluationFailed, match="hosts = 2: only SLURM and OAR"):
        hosts.layout(2, 1, ["x"])
    (tmp_path / "nodes").write_text("chuc-1\n")
    os.environ["OAR_NODEFILE"] = str(tmp_path / "nodes")
    with pytest.raises(EvaluationFailed, match="hosts = 2, but OAR gave this job chuc-1"):
        hosts.layout(2, 1, ["x"])


def test_the_log_says_where_the_ranks_speak(tmp_path: Path) -> None:
    directory = assigned(tmp_path, {"exit": 0}, gpus=1)
    assert run(directory) == (0, "")
    assert "on 1 ranks" in log(directory)
    assert (directory / "ranks" / "0.log").read_text() == "rank 0 gives up\n"
