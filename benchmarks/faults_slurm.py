"""The fault table of SLURM: whole studies on a real cluster, and what befalls them.

    python benchmarks/faults_slurm.py [--accounting] [--only WORDS] [--keep DIR]

Brings up its own cluster of 4 hosts (tests/clusters/slurm.py: it needs root and SLURM's packages) and plays
every situation of `fault_situations.py` as a study of its own, by the command line as a user does. A line of
the table is one situation: how its attempts ended in the ledger, and how long after SLURM knew (or the result
was there) the ledger had it. Exits with 1 if any line is wrong.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

# Run as a script, its own package is not on the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.fault_situations import ACCOUNTING, CONTROLLER, HOSTS, LANES, situations
from benchmarks.fault_study import Case, Situation, Watch
from tests.clusters.slurm import SlurmCluster, why_not

PATIENCE_S = 240.0  # for one study
AT_ONCE = 10  # masters; each of them starts a Python of its own


class Table:
    """Plays situations and prints a line of each when it is over."""

    def __init__(self, cluster: SlurmCluster, watch: Watch, folder: Path, only: str = "") -> None:
        self._cluster, self._watch, self._folder, self._only = cluster, watch, folder, only
        self.cases: list[Case] = []

    def play(self, one: Situation) -> None:
        if self._only not in one.name:
            return
        name = "".join(c if c.isalnum() else "-" for c in one.name)
        case = Case(one, self._cluster, self._watch, self._folder / name)
        case.play(PATIENCE_S)
        self.cases.append(case)
        after = f"{max(case.noticed_s):.1f}" if case.noticed_s else "-"
        verdict = "ok" if not case.problems else "WRONG: " + "; ".join(case.problems)
        print(f"{one.name:40}{one.expected:22}{case.got:22}{after:>10}  {verdict}", flush=True)

    def play_in_turn(self, several: Iterable[Situation]) -> None:
        for one in several:
            self.play(one)


@contextmanager
def cluster_of_its_own(*, accounting: bool) -> Iterator[tuple[SlurmCluster, Watch, str]]:
    """A cluster, its watch, and the id of a job on it that failed."""
    # Not a long path: that of a unix socket has at most 107 characters.
    cluster = SlurmCluster(Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")), accounting=accounting)
    watch = Watch(cluster)
    try:
        cluster.up()
        failed = cluster.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=exit 1").strip()
        watch.start()
        yield cluster, watch, failed
    finally:
        if watch.is_alive():
            watch.stop()
        cluster.down(purge=True)


def play_all(table: Table, quiet: Sequence[Situation]) -> None:
    """What disturbs nobody together with what takes hosts away; then what stops the controller."""

    def hosts() -> None:
        with ThreadPoolExecutor(len(LANES)) as lanes:
            list(lanes.map(table.play_in_turn, LANES))
        table.play_in_turn(HOSTS)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        taken = pool.submit(hosts)
        list(pool.map(table.play, quiet))
        taken.result()
    table.play_in_turn(CONTROLLER)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd; one situation more")
    parser.add_argument("--only", default="", help="situations with these words in their name")
    parser.add_argument("--keep", type=Path, help="keep the studies here")
    given = parser.parse_args()
    if reason := why_not(accounting=given.accounting):
        sys.exit(reason)
    folder = given.keep or Path(tempfile.mkdtemp(prefix="faults-"))
    began = time.monotonic()
    print(f"{'situation':40}{'expected':22}{'got':22}{'noticed, s':>10}  ok")
    try:
        with cluster_of_its_own(accounting=given.accounting) as (cluster, watch, failed_job):
            table = Table(cluster, watch, folder, given.only)
            play_all(table, situations(failed_job))
            if given.accounting:
                table.play(ACCOUNTING)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    wrong = sum(bool(case.problems) for case in table.cases)
    print(f"{len(table.cases)} situations, {wrong} wrong, {time.monotonic() - began:.0f} s")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
