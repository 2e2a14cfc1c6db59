"""Evaluations for tests: each reads its orders from `orders.json` in the attempt's directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def run(attempt: str) -> None:
    """Do what the orders say: sleep (s), fail, allocate_mb, child, stubborn, say."""
    directory = Path(attempt)
    orders = json.loads((directory / "orders.json").read_text())
    if orders.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if orders.get("child"):
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        (directory / "child").write_text(str(child.pid))
    seen = {name: value for name, value in os.environ.items() if not name.startswith("BASH")}
    (directory / "started.json").write_text(json.dumps({"pid": os.getpid(), "environment": seen}))
    sys.stderr.write("stand-in at work\n")
    if megabytes := orders.get("allocate_mb"):
        hog = bytearray(megabytes << 20)
        hog[:: 1 << 12] = b"x" * len(hog[:: 1 << 12])
    time.sleep(orders.get("sleep", 0))
    if orders.get("fail"):
        raise RuntimeError("told to fail")
    (directory / "result.txt").write_text(orders.get("say", "done"))
