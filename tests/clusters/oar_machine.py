"""What OAR has in fixed places of a machine, and whether it can be had there: one cluster at a time."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from filelock import AcquireReturnProxy, FileLock, Timeout

from tests.clusters.oar_conf import JOB_RESOURCE_MANAGER, MARK, PROLOGUE, configuration

USER = "orchestrator-test"
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = " ".join((ROOT / ".ci/oar-packages.txt").read_text().split())
_COMMANDS = ("oarsub", "oarstat", "oardel", "oarhold", "oarresume", "oarnodes", "oarwalltime")
_LOCK = Path("/run/lock/orchestrator-oar.lock")
_OWNER = Path("/run/orchestrator-oar")  # holds the directory of the cluster that is up
_HOSTS = Path("/etc/hosts")
_CONFIGURATION = Path("/etc/oar/oar.conf")
_PACKAGED = _CONFIGURATION.with_suffix(".packaged")


def why_not() -> str | None:
    """Why no OAR can be brought up here, with the remedy; None if one can."""
    if os.geteuid() != 0:
        return "OAR's server needs root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    programs = ("oar-server", "oarsub", "sshd", "setpriv")
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    missing += [] if any(_postgresql_versions()) else ["postgresql"]
    missing += [] if Path("/etc/oar/job_resource_manager.pl").exists() else ["oar-node"]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install --no-install-recommends {PACKAGES}"
    if closed := [path for path in (ROOT, *ROOT.parents) if not path.stat().st_mode & stat.S_IXOTH]:
        return f"OAR takes no jobs from root, and others may not enter {closed[-1]}: chmod o+x {closed[-1]}"
    if (directory := owner()) is not None:
        return f"another OAR is up: python -m tests.clusters.oar down {directory}"
    return None


def hold(patience_s: float) -> AcquireReturnProxy[FileLock]:
    """Hold this machine's OAR until the context that is returned ends.

    Raises:
        TimeoutError: another process held it so long.
    """
    try:
        return FileLock(_LOCK).acquire(timeout=patience_s)
    except Timeout as error:
        raise TimeoutError(f"another process has had this machine's OAR for {patience_s:g} s") from error


def owner() -> Path | None:
    """Directory of the cluster that is up on this machine."""
    with suppress(OSError, ValueError, psutil.NoSuchProcess):
        directory = Path(_OWNER.read_text().strip())
        server = psutil.Process(int((directory / "pid/almighty.pid").read_text()))
        if "almighty" in server.name().lower() and server.status() != psutil.STATUS_ZOMBIE:
            return directory
    return None


def occupy(directory: Path, hosts: Sequence[str], database_port: int) -> None:
    """Write what this cluster needs in fixed places; what is right already is left alone."""
    _OWNER.write_text(f"{directory}\n")
    lines = [f"127.0.0.1 oar-frontend {MARK}"]
    lines += [f"127.0.1.{n} {host} {host.partition('.')[0]} {MARK}" for n, host in enumerate(hosts, 1)]
    text = _HOSTS.read_text()
    # In place, not replaced: in containers the file is a mount.
    with _HOSTS.open("a") as file:
        file.writelines(f"{line}\n" for line in lines if line not in text)
    if not _PACKAGED.exists():
        shutil.copy2(_CONFIGURATION, _PACKAGED)
    _CONFIGURATION.write_text(configuration(_PACKAGED.read_text(), directory, database_port))
    shutil.chown(_CONFIGURATION, "oar")
    _CONFIGURATION.chmod(0o600)
    Path("/etc/oar/job_resource_manager_tests.pl").write_text(f"{MARK}\n{JOB_RESOURCE_MANAGER}")


def leave(directory: Path) -> None:
    """Put the configuration back as the packages brought it, and take the hosts' names away."""
    if not _OWNER.exists() or _OWNER.read_text().strip() != str(directory):
        return
    _OWNER.unlink()
    if _PACKAGED.exists():
        shutil.copy2(_PACKAGED, _CONFIGURATION)
        shutil.chown(_CONFIGURATION, "oar")
    kept = [line for line in _HOSTS.read_text().splitlines() if MARK not in line]
    _HOSTS.write_text("\n".join(kept) + "\n")


def add_user() -> None:
    """The user whose jobs they are. It stays."""
    with suppress(KeyError):
        pwd.getpwnam(USER)
        return
    argv = ["useradd", "--create-home", "--shell=/bin/bash", f"--comment={MARK.lstrip('# ')}", USER]
    subprocess.run(argv, check=True, capture_output=True)


def write_commands(directory: Path) -> None:
    """Fill DIR/bin: commands that do as the user what the caller, root, asks; and the hosts' prologue."""
    home = pwd.getpwnam(USER).pw_dir
    become = (
        '#!/bin/sh\nif [ "$(id -u)" != 0 ]; then exec {program} "$@"; fi\n'
        f"exec {shlex.join(as_user(USER))} HOME={home} USER={USER} LOGNAME={USER} "
        '{program} "$@"\n'
    )
    texts = {command: become.format(program=f"/usr/bin/{command}") for command in _COMMANDS}
    texts["prologue"] = PROLOGUE.format(broken=directory / "broken")
    texts["python"] = become.format(program=shlex.quote(_interpreter(directory / "venv")))
    for name, text in texts.items():
        (directory / "bin" / name).write_text(text)
        (directory / "bin" / name).chmod(0o755)


def as_user(user: str, *argv: str) -> list[str]:
    """The command that runs `argv` as this user; for root."""
    # env: setpriv itself may still open what only root may.
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "env", *argv]


def postgresql() -> Path:
    """Directory of PostgreSQL's programs, the newest."""
    return max(_postgresql_versions(), key=lambda path: float(path.parent.name))


def environment() -> dict[str, str]:
    """Of daemons, and of OAR's commands as root: nothing of OAR's or PostgreSQL's own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OAR", "PG"))}
    return clean | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "PWD": "/"}


def _postgresql_versions() -> list[Path]:
    return [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]


def _interpreter(venv: Path) -> str:
    """An interpreter with this one's packages that the user may run.

    This one may lie under root's home, where nobody else gets in. Then it is the system's, of the same minor
    version, with a path to these packages: nothing is opened to others for the sake of a test.
    """
    if _may(sys.executable):
        return sys.executable
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(venv)], check=True)
    for packages in venv.glob("lib/python*/site-packages"):
        site = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (packages / "orchestrator-test.pth").write_text(site)
    python = str(venv / "bin/python")
    if not _may(python):
        raise RuntimeError(
            f"{USER} may not run {sys.executable}, and /usr/bin/python3 cannot use its packages: make .venv "
            "from /usr/bin/python3, in a directory that others may enter"
        )
    return python


def _may(python: str) -> bool:
    """Whether the user can run an evaluation with this interpreter."""
    argv = as_user(USER, python, "-P", "-c", "import pydantic, submitit, orchestrator, jobs")
    return subprocess.run(argv, check=False, capture_output=True, cwd="/", timeout=120).returncode == 0
