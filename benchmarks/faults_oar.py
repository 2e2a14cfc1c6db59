"""The fault table of OAR: jobs on a real cluster, what befalls them, and what the executor says of it.

    python benchmarks/faults_oar.py [--only WORDS] [--directory DIR]

Brings up its own OAR of 2 hosts (tests/clusters/oar.py: it needs root and OAR's packages), in DIR if given. A
line of the table is one situation: what the executor ended up saying of the job, and how many seconds after
the event it said so, asked five times a second. Exits with 1 if any line is not as expected.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

# Run as a script, its own package is not on the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.fault_situations_oar import SITUATIONS, Stage
from tests.clusters.oar import OarCluster
from tests.clusters.oar_machine import hold, why_not


def play(oar: OarCluster, only: str) -> bool:
    """Play the situations and print a line of each; True: all were as expected."""
    good = True
    print(f"{'situation':38}{'the executor said':44}{'after, s':>9}  as expected")
    for name, situation, expected in SITUATIONS:
        if only not in name:
            continue
        oar.new_shared()
        try:
            said, after_s = situation(Stage(oar))
        except Exception as error:  # noqa: BLE001 - a line of the table
            said, after_s = f"{type(error).__name__}: {error}", None
        right = said.startswith(expected)
        good &= right
        after = "-" if after_s is None else f"{after_s:.1f}"
        print(
            f"{name:38}{said[:42]:44}{after:>9}  {'yes' if right else f'NO: {expected!r} / {said!r}'}",
            flush=True,
        )
        oar.recover()
    return good


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="situations whose name holds these words")
    parser.add_argument("--directory", type=Path, help="of the cluster; it is kept")
    given = parser.parse_args()
    with hold(10):
        if reason := why_not():
            sys.exit(reason)
        directory = given.directory or Path(tempfile.mkdtemp(prefix="oar-", dir="/tmp"))
        oar = OarCluster(directory)
        os.umask(0)
        try:
            oar.up()
            os.environ.update(oar.environment)
            sys.executable = str(oar.python)
            good = play(oar, given.only)
        finally:
            oar.down(purge=not given.directory)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
