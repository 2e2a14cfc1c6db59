"""A run directory has one master at a time, whoever died and wherever."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from orchestrator.contract import publish
from orchestrator.contract.files import dumps
from orchestrator.errors import Held, InputError, StudyStopped
from orchestrator.record import MasterLock, RunDirectory
from orchestrator.record.directory import HEARTBEAT_S, MasterProcess

HOLD = """
import sys
from pathlib import Path
from orchestrator.record import MasterLock, RunDirectory
with MasterLock(RunDirectory(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.readline()
"""
ELSEWHERE = MasterProcess("elsewhere.example", os.getpid(), 1_700_000_000.0)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


@contextmanager
def another_master(run: RunDirectory) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that holds the lock, until it is killed or told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.communicate("end\n")


def written(run: RunDirectory, process: MasterProcess) -> None:
    publish(run.master_file, dumps(asdict(process)))


def test_a_lock_names_its_holder_and_leaves_no_name_behind(run: RunDirectory) -> None:
    with MasterLock(run):
        assert run.master() == MasterProcess.current()
        assert run.master_is_running()
    assert run.master() is None
    assert not run.master_is_running()


def test_a_second_master_is_refused_and_told_who_where_and_since_when(run: RunDirectory) -> None:
    with another_master(run) as other:
        who = rf"host {socket.gethostname()}, pid {other.pid}, since \d{{4}}-\d\d-\d\d \d\d:\d\d"
        with pytest.raises(InputError, match=who):
            MasterLock(run).__enter__()
        with pytest.raises(InputError, match="a master runs this study already"):
            MasterLock(run, take_over=True).__enter__()
        assert run.master_is_running()


def test_a_second_master_in_the_same_process_is_refused(run: RunDirectory) -> None:
    with MasterLock(run), pytest.raises(InputError, match="a master runs this study already"):
        MasterLock(run).__enter__()


def test_a_living_master_is_refused_where_locks_do_nothing(run: RunDirectory) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        started_at = psutil.Process(other.pid).create_time()
        written(run, MasterProcess(socket.gethostname(), other.pid, started_at))
        with pytest.raises(InputError, match=f"a master runs this study already: .*pid {other.pid}"):
            MasterLock(run, take_over=True).__enter__()
        other.kill()


def test_a_lock_that_names_nobody_is_a_lock(run: RunDirectory) -> None:
    with another_master(run):
        run.master_file.unlink()
        with pytest.raises(InputError, match="a master runs this study already"):
            MasterLock(run).__enter__()


def test_a_master_of_this_host_that_is_dead_is_replaced_without_a_word(run: RunDirectory) -> None:
    with another_master(run) as other:
        other.kill()
        other.wait()
        assert run.master() is not None
        assert not run.master_is_running()
        with MasterLock(run):
            assert run.master() == MasterProcess.current()


def test_a_later_process_with_the_pid_of_a_dead_master_is_not_taken_for_it(run: RunDirectory) -> None:
    reused = replace(MasterProcess.current(), started_at=MasterProcess.current().started_at - 3600)
    written(run, reused)
    assert not run.master_is_running()
    with MasterLock(run):
        assert run.master() == MasterProcess.current()


def test_a_master_on_another_host_is_replaced_only_by_an_explicit_act(run: RunDirectory) -> None:
    written(run, ELSEWHERE)
    with pytest.raises(InputError, match=r"host elsewhere\.example, pid \d+, since 2023-11-1.*--take-over"):
        MasterLock(run).__enter__()
    assert run.master() == ELSEWHERE
    with MasterLock(run, take_over=True):
        assert run.master() == MasterProcess.current()


def test_a_master_on_another_host_that_is_known_to_be_over_is_replaced(run: RunDirectory) -> None:
    written(run, replace(ELSEWHERE, job="77"))
    asked = []

    def is_over(holder: MasterProcess) -> bool:
        asked.append(holder.job)
        return holder.job == "77"

    with MasterLock(run, job="78", is_over=is_over):
        assert run.master() == MasterProcess.current("78")
    assert asked == ["77"]
    written(run, replace(ELSEWHERE, job="76"))
    with pytest.raises(Held, match=r"pid \d+, since .*, job 76, last seen alive"):
        MasterLock(run, is_over=is_over).__enter__()


def test_a_living_master_of_this_host_is_not_asked_about(run: RunDirectory) -> None:
    with another_master(run), pytest.raises(Held) as held:
        MasterLock(run, is_over=lambda _: True).__enter__()
    assert held.value.at_work


@pytest.mark.parametrize(("silent_s", "at_work"), [(0, True), (10 * HEARTBEAT_S, False)])
def test_a_refusal_says_whether_the_holder_seems_to_be_at_work(
    run: RunDirectory, silent_s: float, at_work: bool
) -> None:
    written(run, ELSEWHERE)
    heard_at = time.time() - silent_s
    os.utime(run.master_file, (heard_at, heard_at))
    with pytest.raises(Held) as held:
        MasterLock(run).__enter__()
    assert held.value.at_work is at_work


def test_a_master_elsewhere_is_never_pushed_aside_by_age(run: RunDirectory) -> None:
    written(run, ELSEWHERE)
    os.utime(run.master_file, (0, 0))
    with pytest.raises(InputError, match="may still run this study"):
        MasterLock(run).__enter__()


def test_a_master_that_was_taken_over_leaves_its_successors_name(run: RunDirectory) -> None:
    with MasterLock(run):
        written(run, ELSEWHERE)
    assert run.master() == ELSEWHERE


def test_a_master_elsewhere_runs_as_long_as_its_heart_beats(run: RunDirectory) -> None:
    written(run, ELSEWHERE)
    assert run.master_is_running()
    long_ago = time.time() - 10 * HEARTBEAT_S
    os.utime(run.master_file, (long_ago, long_ago))
    assert not run.master_is_running()


def test_the_heart_beats_and_survives_a_directory_that_is_away(run: RunDirectory) -> None:
    with MasterLock(run) as lock:
        os.utime(run.master_file, (0, 0))
        lock.beat()
        assert run.master_file.stat().st_mtime > 0
    hidden = run.path.rename(run.path.with_name("away"))
    MasterLock(run).beat()
    hidden.rename(run.path)


def test_a_master_stops_when_another_has_taken_over(run: RunDirectory) -> None:
    with MasterLock(run) as lock:
        run.master_file.write_text('{"host": "elsewhere", "pid": 1, "started_at": 1.0}')
        with pytest.raises(StudyStopped, match="another master has taken over: host elsewhere, pid 1"):
            lock.beat()


def test_the_holder_is_written_as_json_for_people_too(run: RunDirectory) -> None:
    with MasterLock(run):
        assert json.loads(run.master_file.read_text())["pid"] == os.getpid()


def test_a_run_is_found_by_its_path_or_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "ledger.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    for name in ("runs/a", "a", str(tmp_path / "runs" / "a")):
        assert RunDirectory.find(name, Path("runs")).path == tmp_path / "runs" / "a"
    with pytest.raises(InputError, match=r"b: no run here: there is no b/\S+ and no runs/b/ledger\.jsonl;"):
        RunDirectory.find("b", Path("runs"))
    with pytest.raises(InputError) as refused:
        RunDirectory.find(str(tmp_path / "b"), Path("runs"))
    assert str(refused.value).count("ledger.jsonl") == 1
