"""Starting a study, and taking it up again."""

from __future__ import annotations

import difflib
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from orchestrator import __version__, executors
from orchestrator.algorithms import Algorithm
from orchestrator.config import ClusterProfile, StudySpec
from orchestrator.config.profile import resources
from orchestrator.errors import InputError
from orchestrator.master.extension import without_budget
from orchestrator.master.lazy import LazyAlgorithm
from orchestrator.master.loop import Master
from orchestrator.preflight import new_algorithm, prepared_inputs, read_checked_profile
from orchestrator.preflight.beginning import begin
from orchestrator.preflight.studies import read_launched_study
from orchestrator.record import History, MasterLock, RunDirectory, StudyRecord
from orchestrator.record.directory import MasterProcess
from orchestrator.record.facts import Created, Resumed
from orchestrator.record.ledger import Ledger, read


@dataclass(frozen=True)
class Launched:
    """A study whose run directory is there and whose master has not begun.

    Attributes:
        run: its directory.
        spec: the study, validated.
        profile: where it runs.
        algorithm: new; what the study file wants it to know and to try is told already.
        lines: what people are to know of that.
    """

    run: RunDirectory
    spec: StudySpec
    profile: ClusterProfile
    algorithm: Algorithm
    lines: tuple[str, ...]


def launch(spec: StudySpec, profile: ClusterProfile, profile_path: Path, inputs: str = "") -> Launched:
    """Make the run directory with the ledger's first record; it appears whole or not at all.

    Args:
        spec: the study.
        profile: where it runs.
        profile_path: the profile's file, to be copied.
        inputs: digest of what was prepared for it.

    Raises:
        InputError: it exists already, or cannot be made; or the algorithm, or a study to start from or to go
            on with, cannot be used.
    """
    algorithm = new_algorithm(spec, budget=spec.most_evaluations, capacity=profile.slots)
    lines = begin(algorithm, spec)
    target = profile.runs_path / spec.name
    if target.exists():
        raise InputError(
            f"{target}: a run of that name exists: `orchestrator resume {target}` goes on with it; "
            "for another study change `name`"
        )
    building = target.with_name(f".{spec.name}.{secrets.token_hex(4)}")
    try:
        profile.runs_path.mkdir(parents=True, exist_ok=True)
        building.mkdir(mode=0o700)
        run = RunDirectory(building)
        run.study.write_text(spec.text, encoding="utf-8")
        shutil.copyfile(profile_path, run.profile)
        with StudyRecord.open(run, new=True) as record:
            record.write(_created(spec, profile, inputs))
        building.rename(target)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        raise InputError(
            f"{error.filename or target}: cannot be written: {error.strerror}; "
            "`shared_dir` in the profile names where runs are kept"
        ) from error
    return Launched(RunDirectory(target), spec, profile, algorithm, tuple(lines))


def drive(
    run: RunDirectory,
    say: Callable[[str], None],
    lock: MasterLock,
    *,
    launched: Launched | None = None,
    as_launched: bool = False,
    once: bool = False,
) -> str | None:
    """Run the study's master here until the study ends; return why it did.

    Args:
        run: the study's directory.
        say: takes a line for people.
        lock: of the run, not taken yet.
        launched: the study, if it was launched just now: what is known of it is not read again.
        as_launched: go on although the study's file says something else by now.
        once: do what can be done now; return None if the study goes on. A stopped study is not reopened.

    Raises:
        Held: another master has the run.
        InputError: the study file changed since launch, or the algorithm or a study to start from cannot be
            used.
        StudyStopped: the study cannot go on.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; jobs go on, and `resume` takes them up.
    """
    with lock, _signals_interrupt():
        history = History.replay(read(run.ledger))
        if once and history.ended is not None:
            return history.ended.message
        if launched is not None:
            spec, profile = launched.spec, launched.profile
        else:
            spec = launched_study(run, history, check_original=not as_launched)
            spec = replace(spec, budget=history.budget)
            profile, _ = read_checked_profile(str(run.profile))
            if not run.cancel_is_requested():
                _check_inputs(run, spec, history)
        with StudyRecord(Ledger(run.ledger), history) as record:
            if history.ended is not None and history.ended.is_done:
                return history.ended.message
            if history.trials and not once:
                me = MasterProcess.current()
                record.write(Resumed(host=me.host, pid=me.pid, version=__version__))
            return Master(
                run,
                lock,
                spec=spec,
                profile=profile,
                executor=executors.create(profile.scheduler, resources(profile), history.token_prefix),
                algorithm=_algorithm(spec, profile, launched, once=once),
                has_begun=launched is not None,
                record=record,
                say=say,
            ).run(once=once)


def _algorithm(
    spec: StudySpec, profile: ClusterProfile, launched: Launched | None, *, once: bool
) -> Algorithm:
    if launched is not None:
        return launched.algorithm
    make = partial(new_algorithm, spec, budget=spec.most_evaluations, capacity=profile.slots)
    return LazyAlgorithm(make, spec) if once else make()


def _check_inputs(run: RunDirectory, spec: StudySpec, history: History) -> None:
    """Raises: InputError: what the trials read is gone, or is not what it was at launch."""
    if prepared_inputs(spec, run.cache, sources=False) != history.created.inputs:
        raise InputError(
            f"{run.path}: model, data or tasks were prepared anew since launch and are not what they were; "
            "scores would not compare: launch a study of another name"
        )


def _created(spec: StudySpec, profile: ClusterProfile, inputs: str) -> Created:
    """What readers need to know of a study without reading its file; and the file, to go on from."""
    return Created(
        study=spec.name,
        token=f"{spec.name[:24]}-{secrets.token_hex(3)}",
        seed=spec.seed,
        algorithm=spec.algorithm,
        objective=spec.objective,
        budget=spec.budget,
        scheduler=profile.scheduler,
        max_jobs=profile.max_jobs,
        trials_per_job=profile.trials_per_job,
        hosts=profile.hosts,
        gpus=profile.gpus,
        version=__version__,
        python=sys.version.split()[0],
        path=str(spec.path.absolute()),
        text=spec.text,
        promoted=spec.promoted,
        inputs=inputs,
    )


def launched_study(run: RunDirectory, history: History, *, check_original: bool) -> StudySpec:
    """The study as the ledger holds it.

    Args:
        run: the study's directory.
        history: what its ledger says.
        check_original: also demand that the file it was launched from says the same, its budget aside.

    Raises:
        InputError: the run's copy, or the file it was launched from, says something else by now.
    """
    launched = history.created.text
    original = Path(history.created.path)
    for path in (run.study, original) if check_original else (run.study,):
        now = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else launched
        if without_budget(now) != without_budget(launched):
            lines = difflib.unified_diff(
                launched.splitlines(), now.splitlines(), "as launched", str(path), lineterm="", n=1
            )
            remedy = "undo the change, or launch it as a study of another name"
            if path == original:
                remedy += "; `--as-launched` goes on with the study as it was"
            raise InputError([f"{path}: the study changed since launch: {remedy}", *lines])
    return read_launched_study(run, history)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """A closed terminal or a polite kill ends a master as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    # What is ignored stays so: `nohup` means it.
    heard = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
