"""The quick situations of the fault table: whole studies on a real SLURM cluster, and what befalls them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import inf
from pathlib import Path

from benchmarks.fault_situations import FAST, situations
from benchmarks.fault_study import Watch
from benchmarks.faults_slurm import Table
from tests.clusters.slurm import SlurmCluster


def test_the_quick_situations_of_the_fault_table(slurm: SlurmCluster, tmp_path: Path) -> None:
    failed = slurm.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=exit 1").strip()
    # How soon something is noticed is measured by the benchmark, not here.
    quick = [replace(one, within_s=inf) for one in situations(failed) if one.name in FAST]
    assert len(quick) == len(FAST)
    watch = Watch(slurm)
    watch.start()
    table = Table(slurm, watch, tmp_path)
    try:
        with ThreadPoolExecutor(5) as pool:
            list(pool.map(table.play, quick))
    finally:
        watch.stop()
    assert {case.situation.name: case.problems for case in table.cases if case.problems} == {}
    assert len(table.cases) == len(FAST)
