"""The evaluation of a fault situation: `python fault_program.py MODE SECONDS CONFIGURATION OUTPUT`.

work      work so long, then write a score
first     the trial's first process works so long, every later one a second
raise     fail by an exception
exit      fail by exit code 3
kill      kill the evaluation's own process: nobody is left to write a result
freeze    stop that process: it does not see its time run out
allocate  take 600 MB
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    mode, seconds, configuration, output = sys.argv[1], float(sys.argv[2]), *map(Path, sys.argv[3:])
    begun = Path.cwd().parent / "begun"  # of the trial
    if mode == "first" and begun.exists():
        seconds = 1.0
    begun.touch()
    Path(f"started-{os.getpid()}").touch()
    if mode == "freeze":
        os.kill(os.getppid(), signal.SIGSTOP)
    hog = bytearray(600 << 20) if mode == "allocate" else bytearray()
    hog[:: 1 << 12] = b"x" * len(hog[:: 1 << 12])
    time.sleep(seconds)
    if mode == "raise":
        raise RuntimeError("told to fail")
    if mode == "exit":
        sys.exit(3)
    if mode == "kill":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    output.write_text(json.dumps({"loss": json.loads(configuration.read_text())["x"]}))


if __name__ == "__main__":
    main()
