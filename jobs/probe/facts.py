"""The job of `orchestrator doctor --submit`: it writes what its host is like, for the login node to read.

Both sides exchange a few files: `ping-0.json` from the host, `pong-0.json` in answer, and so on. From the
four times of each exchange the login node computes how late files show and how far the clocks are apart (see
`orchestrator.doctor.host.Delays`).
"""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jobs.attempt.directory import job_id
from jobs.probe import storage
from orchestrator.contract import publish
from orchestrator.contract.files import dumps

EXCHANGES = 4
FACTS, LOCK = "facts.json", "held-by-login-node.lock"
PACKAGES = ("orchestrator", "submitit", "torch", "litgpt", "lm-eval", "numpy")
_ANSWER_S = 120.0  # seconds for the other side to see a file and answer
_HUB = ("huggingface.co", 443)
# Beginnings of the names of variables that are reported.
_TELLING = ("HF_", "TRANSFORMERS_", "CUDA_VISIBLE", "OMP_NUM", "http_proxy", "https_proxy", "TMPDIR", "NCCL_")


def probe(directory: str) -> None:
    """Exchange files with the login node through `directory`, then leave facts of this host there."""
    path = Path(directory)
    facts: dict[str, Any] = {"host": socket.gethostname(), "job": job_id(), "exchanges": []}
    for number in range(EXCHANGES):
        if (times := _exchange(path, number)) is None:
            break
        facts["exchanges"].append(times)
    kind, mounted = storage.filesystem(path)
    temporary = tempfile.gettempdir()
    facts |= {
        "filesystem": kind,
        "mounted": mounted,
        "storage": storage.trials(path),
        "lock_is_seen": _lock_is_seen(path / LOCK),
        "python": platform.python_version(),
        "interpreter": sys.executable,
        "versions": versions(PACKAGES),
        "user": _user(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "temporary": temporary,
        "temporary_free_bytes": shutil.disk_usage(temporary).free,
        "reaches_hub": _reaches(_HUB, seconds=5.0),
        "environment": _environment(),
        "devices": _devices(),
    }
    publish(path / FACTS, dumps(facts))


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed version of each package, by its name; packages that are not installed are left out."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _exchange(path: Path, number: int) -> dict[str, float] | None:
    """Times of one exchange, in seconds since the epoch; None if nobody answered."""
    sent = time.time()
    publish(path / f"ping-{number}.json", dumps({"sent": sent, "host": socket.gethostname()}))
    pong, deadline = path / f"pong-{number}.json", time.monotonic() + _ANSWER_S
    while time.monotonic() < deadline:
        try:
            text = pong.read_text(encoding="utf-8")
        except OSError:  # not there yet; or there, and replaced meanwhile
            time.sleep(0.01)
            continue
        return {"sent": sent, **json.loads(text), "back": time.time()}
    return None


def _lock_is_seen(path: Path) -> bool | None:
    """True if this host sees the lock that the login node holds; None if that cannot be found out."""
    try:
        return not storage.lock_is_free(path)
    except OSError:
        return None


def _environment() -> dict[str, str]:
    """Variables that change what evaluations do; those that may hold a secret have the value "set"."""
    told = {name: value for name, value in sorted(os.environ.items()) if name.startswith(_TELLING)}
    return {name: "set" if re.search("proxy|TOKEN|KEY", name) else value for name, value in told.items()}


def _devices() -> dict[str, Any]:
    """The GPUs of this job as PyTorch sees them; each one is tested with a small product."""
    try:
        import torch
    except Exception as error:  # noqa: BLE001 — a library of CUDA that is missing raises what it likes
        return {"error": f"torch cannot be imported: {error}"}
    facts: dict[str, Any] = {"cuda": torch.version.cuda, "gpus": []}
    try:
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            facts["gpus"].append({"name": properties.name, "memory_bytes": properties.total_memory})
            ones = torch.ones(64, 64, device=f"cuda:{number}")
            if float((ones @ ones).sum()) != 64.0**3:
                facts["error"] = f"GPU {number} cannot multiply"
    except RuntimeError as error:
        facts["error"] = str(error).splitlines()[0]
    return facts


def _reaches(address: tuple[str, int], seconds: float) -> bool:
    """True if a connection can be made within `seconds`, even where a name server never answers."""
    reached = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=seconds).close()
        except OSError:
            return
        reached.set()

    threading.Thread(target=connect, daemon=True).start()
    return reached.wait(seconds)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
