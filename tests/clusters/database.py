"""The database behind slurmdbd: a mariadbd of our own, all of it in one directory."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

_SETUP = """\
create database if not exists slurm_acct;
create user if not exists slurm@'127.0.0.1' identified by 'slurm';
grant all on slurm_acct.* to slurm@'127.0.0.1';
"""
_SMALL = (
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=32M",
    "--innodb-lock-wait-timeout=900",
    "--innodb-flush-log-at-trx-commit=0",
    "--performance-schema=off",
    "--skip-name-resolve",
)


def start(data: Path, port: int, pid_file: Path, log: Path, environment: Mapping[str, str]) -> None:
    """Start the server, with a fresh database if there is none; it is up some time after this returns."""
    if not (data / "mysql").exists():
        argv = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}"]
        argv += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(argv, env=environment, check=True, capture_output=True, timeout=120)
    argv = ["mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", _socket(data), *_SMALL]
    argv += ["--bind-address=127.0.0.1", f"--port={port}", f"--pid-file={pid_file}"]
    with log.open("ab") as file:
        subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def prepare(data: Path, environment: Mapping[str, str]) -> bool:
    """Make sure that slurmdbd may use the database. True: the server answered."""
    argv = ["mariadb", "--no-defaults", _socket(data), "-uroot", "-e", _SETUP]
    return subprocess.run(argv, env=environment, check=False, capture_output=True, timeout=30).returncode == 0


def _socket(data: Path) -> str:
    return f"--socket={data / 's.sock'}"
