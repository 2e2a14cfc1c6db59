"""A command of several ranks: CONFIGURATION.json says what each does; it writes `seen-RANK.json` first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

NAMES = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURMD_NODENAME",
    "CUDA_VISIBLE_DEVICES", "ORCHESTRATOR_TRIAL", "ORCHESTRATOR_CHECKPOINT", "OF_THE_LEADER",
)  # fmt: skip
RANK = int(os.environ["RANK"])


def save(*_: object) -> None:
    Path(os.environ["ORCHESTRATOR_CHECKPOINT"], f"rank-{RANK}").touch()
    sys.exit(0)


def total() -> float:
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    numbers = torch.tensor([float(RANK + 1)])
    dist.all_reduce(numbers)
    dist.destroy_process_group()
    return float(numbers)


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    signal.signal(signal.SIGTERM, save)
    # In a session of its own: the end of the program's group does not reach it.
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    pids = [os.getpid(), os.getppid(), child.pid]
    seen = {"pids": pids, **{name: os.environ[name] for name in NAMES if name in os.environ}}
    written = Path(f"seen-{RANK}.tmp")
    written.write_text(json.dumps(seen))
    written.replace(f"seen-{RANK}.json")
    if order.get("exit") == RANK:
        while len(list(Path().glob("seen-*.json"))) < int(os.environ["WORLD_SIZE"]):
            time.sleep(0.02)
        sys.exit(f"rank {RANK} gives up")
    if order.get("wait"):
        time.sleep(600)
    value = total() if order.get("sum") else 1.0
    if RANK == 0:
        Path(sys.argv[2]).write_text(json.dumps({"sum": value}))


main()
