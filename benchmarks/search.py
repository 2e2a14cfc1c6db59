"""Compare searches: this project's and others' programs, side by side on the same problems.

    python benchmarks/search.py [--group public,other,lora,emulator] [--methods fullsweep,bo:n_init=6]
        [--q 8] [--budget 50] [--seeds 10] [--first-seed 0] [--workers 2] [--out benchmarks/out] [--report]

Every finished study is a line of OUT/studies.jsonl, and what is there is not run again: interrupt it and
start it again as you like, with other methods, seeds or q. After the studies, or with --report alone, it
writes OUT/table.csv (by group), OUT/problems.csv, OUT/regret.png and the table on the screen;
`search_report.py` says what the figures mean. Delete the lines of a method whose code changed.

The peers need `pip install -e '.[bench]'`; a method that is not installed is left out, and it says so.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# Run as a script, its own package is not on the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import search_report
from benchmarks.problems import GROUPS, PROBLEMS, problem, random_regrets
from benchmarks.searchers import PEERS, Method, Setting
from benchmarks.simulation import DURATIONS, simulate
from orchestrator.algorithms import ALGORITHMS
from orchestrator.errors import InputError

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
OUT = Path(__file__).resolve().parent / "out"


@dataclass(frozen=True, slots=True)
class Task:
    """One study to run; its fields identify it in the record."""

    method: str
    problem: str
    q: int
    budget: int
    seed: int
    durations: str


def run(task: Task) -> dict[str, Any]:
    """Run one study and return its line of the record."""
    begun = time.perf_counter()
    method, measured = Method.parse(task.method), problem(task.problem, task.seed)
    searcher = method.build(Setting(measured.space, task.seed, task.budget, task.q))
    study = simulate(
        searcher,
        measured,
        hosts=task.q,
        budget=task.budget,
        seed=task.seed,
        asynchronous=method.asynchronous,
        durations=task.durations,
    )
    best_of_50, one = random_regrets(task.problem, task.seed)
    return {
        **asdict(task),
        "group": measured.group,
        "asynchronous": method.asynchronous,
        "random50": best_of_50,
        "random1": one,
        "seconds": round(time.perf_counter() - begun, 3),
        **study.record(),
    }


def read(path: Path) -> list[dict[str, Any]]:
    """Return the record's lines; one that an interruption cut short is left out."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"{path}: a torn line is left out: {line[:60]}…", file=sys.stderr)
    return lines


def key(line: dict[str, Any]) -> Task:
    return Task(**{name: line[name] for name in Task.__dataclass_fields__})


def available(methods: Iterable[str]) -> list[str]:
    """The methods that can be built here; of the others it says why not."""
    found = []
    for method in methods:
        try:
            Method.parse(method).build(Setting(problem("branin", 0).space, 0, 4, 2))
            found.append(method)
        except (ImportError, ValueError, InputError) as error:
            print(f"{method} is left out: {error}", file=sys.stderr)
    return found


def play(tasks: Sequence[Task], path: Path, workers: int) -> int:
    """Run studies in worker processes, appending each to the record; return how many failed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    failed, spent, begun = 0, 0.0, time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    threads_before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))  # for the workers: a library reads it when it loads
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_interrupts)
    queue, running = iter(tasks), dict[Future[dict[str, Any]], Task]()
    try:
        with path.open("a", encoding="utf-8") as record, Progress(*columns) as progress:
            bar = progress.add_task("studies", total=len(tasks))
            if record.tell() and not path.read_bytes().endswith(b"\n"):
                record.write("\n")  # the torn line stays torn, and alone
            for done in range(len(tasks)):
                for task in islice(queue, workers + 1 - len(running)):
                    running[pool.submit(run, task)] = task
                future = next(iter(wait(running, return_when=FIRST_COMPLETED).done))
                task = running.pop(future)
                if error := future.exception():
                    failed += 1
                    progress.console.print(f"{task}: {type(error).__name__}: {error}", markup=False)
                else:
                    record.write(json.dumps(future.result(), allow_nan=False) + "\n")
                    record.flush()
                spent = time.monotonic() - begun
                left = spent / (done + 1) * (len(tasks) - done - 1)
                progress.update(
                    bar, advance=1, description=f"{task.method} {task.problem} · {_clock(left)} left"
                )
    finally:
        for process in (pool._processes or {}).values():  # noqa: SLF001  # it would wait for the running studies
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        for name, value in threads_before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    return failed


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the workers


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"


def method_list(text: str) -> list[str]:
    """Cut "lhs,bo:n_init=6,kernel=rbf,ax" before every method's name."""
    methods: list[str] = []
    for word in filter(None, text.split(",")):
        if methods and "=" in word and ":" not in word:
            methods[-1] += f",{word}"
        else:
            methods.append(word)
    return methods


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    def words(text: str) -> list[str]:
        return [word for word in text.split(",") if word]

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--group", type=words, default=list(GROUPS), help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--problems", type=words, help="these instead of whole groups")
    parser.add_argument(
        "--methods",
        type=method_list,
        default=[*ALGORITHMS, *PEERS],
        help="lhs,fullsweep:beta=0.5,share=0.2,ax: what has an = belongs to the method before it",
    )
    parser.add_argument(
        "--q", type=lambda text: [int(q) for q in words(text)], default=[8], help="hosts: 4,8,16"
    )
    parser.add_argument("--budget", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--durations", choices=DURATIONS, default=DURATIONS[0], help="of jobs: see simulation.py"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--report", action="store_true", help="run nothing, report what is there")
    given = parser.parse_args(argv)
    if unknown := [group for group in given.group if group not in GROUPS]:
        parser.error(f"no group {unknown[0]!r} (known: {', '.join(GROUPS)})")
    given.problems = given.problems or [name for group in given.group for name in GROUPS[group]]
    if unknown := [name for name in given.problems if name not in PROBLEMS]:
        parser.error(f"no problem {unknown[0]!r} (known: {', '.join(PROBLEMS)})")
    for name in ("budget", "seeds", "workers"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} {getattr(given, name)}: must be at least 1")
    return given


def main(argv: Sequence[str] | None = None) -> int:
    given = arguments(argv)
    path = given.out / "studies.jsonl"
    failed = 0
    if not given.report:
        methods = available(given.methods)
        wanted = [
            Task(method, name, q, given.budget, seed, given.durations)
            for seed in range(given.first_seed, given.first_seed + given.seeds)
            for q in given.q
            for name in given.problems
            for method in methods
        ]
        there = {key(line) for line in read(path)}
        tasks = [task for task in wanted if task not in there]
        print(f"{len(wanted)} studies, {len(wanted) - len(tasks)} of them already in {path}")
        try:
            failed = play(tasks, path, given.workers) if tasks else 0
        except KeyboardInterrupt:
            print(
                "\ninterrupted; what is finished is kept: the same command goes on from here", file=sys.stderr
            )
            return 130
    lines = read(path)
    if not lines:
        print(f"no studies in {path}", file=sys.stderr)
        return 1
    search_report.write(lines, given.out)
    if failed:
        print(f"{failed} studies failed and are tried again by the same command", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
