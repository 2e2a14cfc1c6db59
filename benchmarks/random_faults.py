"""A study of 24 evaluations while something goes wrong every few seconds, from its start to its end.

    python -m benchmarks.random_faults [--scheduler slurm|oar] [--evaluations 24] [--every 3] [--seed 0]

On a real scheduler that it brings up itself (root; see CONTRIBUTING.md). The master too is killed now and
then, and resumed. At the end: the same points and scores as an undisturbed run's, each evaluated once, and no
job left in the queue. Exit code 1 if not. The faults are in `disturbance.py`.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.disturbance import SCHEDULERS, Disturbed
from orchestrator.record import History
from orchestrator.record.ledger import read
from tests.fakes.studies import points_of, run_study, write_synthetic_study

PROFILE = """
scheduler = "{scheduler}"
shared_dir = "{{shared}}"
hosts = 1
gpus = 4
walltime_min = 5
max_jobs = 4
poll_s = 1
grace_s = 3
attempts = 100      # so many faults as here no real study sees
strikes = 1000
[environment]
OMP_NUM_THREADS = "1"
PYTHONPATH = "{root}"
[options]
{options}
"""
OPTIONS = {"slurm": "", "oar": 'type = "besteffort"'}
ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 1500.0


class Master:
    """`orchestrator launch`, and `resume` after each of its deaths."""

    def __init__(self, shared: Path, study: Path) -> None:
        self._shared = shared
        self._words = ["launch", str(study), "--profile", str(shared / "profile.toml")]
        self._log = (shared / "master.out").open("wb")
        self.deaths = 0
        self.start()

    def start(self) -> None:
        argv = [sys.executable, "-m", "orchestrator", *self._words]
        self.process = subprocess.Popen(argv, cwd=self._shared, stdout=self._log, stderr=subprocess.STDOUT)
        self._born = time.monotonic()

    def kill(self) -> None:
        """SIGKILL, and another one takes over."""
        self.process.kill()
        self.process.wait()
        self.deaths += 1
        if (self._shared / "runs/study/ledger.jsonl").exists():
            self._words = ["resume", str(self._shared / "runs/study")]
        self.start()

    def stopped(self) -> bool:
        """True if it ended by itself."""
        return self.process.poll() is not None


def disturb(master: Master, cluster: Disturbed, chance: random.Random, every_s: float) -> Counter[str]:
    """Faults until the study has ended; how often each struck."""
    struck: Counter[str] = Counter()
    faults = {**cluster.faults, "master killed": master.kill}
    started = time.monotonic()
    while not master.stopped() and time.monotonic() - started < LIMIT_S:
        time.sleep(chance.uniform(0.5, 2 * every_s - 0.5))
        name = chance.choice(sorted(faults))
        if not master.stopped() and faults[name]() is not False:
            struck[name] += 1
            print(f"{time.monotonic() - started:6.1f} s  {name}", flush=True)
    return struck


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scheduler", choices=tuple(SCHEDULERS), default="slurm")
    parser.add_argument("--evaluations", type=int, default=24)
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two faults, on average")
    parser.add_argument("--seconds", type=float, default=4.0, help="of an evaluation")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    profile = PROFILE.format(scheduler=given.scheduler, root=ROOT, options=OPTIONS[given.scheduler])
    sizes = {"evaluations": given.evaluations, "algorithm": "soo"}
    with tempfile.TemporaryDirectory() as quiet:
        undisturbed = run_study(Path(quiet), write_synthetic_study(Path(quiet), **sizes))
        wanted = points_of(undisturbed.history)
    with SCHEDULERS[given.scheduler]() as cluster:
        shared = cluster.shared
        study = write_synthetic_study(shared, **sizes, seconds=given.seconds, profile=profile)
        master = Master(shared, study)
        started = time.monotonic()
        struck = disturb(master, cluster, random.Random(given.seed), given.every)
        cluster.calm()
        history = History.replay(read(shared / "runs/study/ledger.jsonl"))
        evaluated = Counter(history.evaluations)
        attempts = sum(len(trial.attempts) for trial in history.trials)
        ended = Counter(a.ended for trial in history.trials for a in trial.attempts)
        checks = {
            "master ended by itself, exit code 0": master.process.returncode == 0,
            "points and scores as undisturbed": points_of(history) == wanted,
            "each evaluated once": set(evaluated.values()) == {1} and len(evaluated) == given.evaluations,
            "no job left": not (left := cluster.jobs_left()),
        }
    print(f"\n{sum(struck.values())} faults in {time.monotonic() - started:.0f} s: {dict(struck)}")
    print(f"{attempts} attempts at {given.evaluations} evaluations: {dict(ended)}")
    for what, held in checks.items():
        print(f"{'ok   ' if held else 'WRONG'} {what}")
    if left:
        print(left)
    raise SystemExit(0 if all(checks.values()) else 1)


if __name__ == "__main__":
    main()
