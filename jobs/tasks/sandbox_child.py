"""Runs one program in a sandbox: a script that `jobs.tasks.sandbox` starts in an interpreter of its own.

The program can write to no file outside its folder, and read only those of Python and of the system besides.
It can reach no other host and open no socket, it sees no other process, and all that it starts ends with it.
This takes Linux 5.13 or newer with unprivileged user namespaces: namespaces separate it from the network and
from other processes, Landlock from files, and a seccomp filter from the remaining system calls.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys

NO_WALLS = 70  # exit status: this host cannot make the sandbox; the reason is on standard error

_MEMORY = 4 * 2**30  # bytes of address space: 4 GiB, as EvalPlus allows by default
_FILE = 16 * 2**20  # bytes of a file
_FILES, _THREADS = 64, 64  # open files; threads and processes
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/dev/urandom", "/dev/zero")  # readable

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# Constants of clone(2) and prctl(2).
_NAMESPACES = 0x10000000 | 0x40000000 | 0x08000000 | 0x20000000  # user, network, IPC, process ids
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
# System calls and rights of landlock(7).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE, _IOCTL_DEV = 1, 2, 4, 8, 1 << 14, 1 << 15
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}  # all rights, by version
# For seccomp(2): machine -> its number in audit.h, and of clone(2); those of socket(2), fork(2), vfork(2)
_MACHINES = {"x86_64": (0xC000003E, 56, (41, 57, 58)), "aarch64": (0xC00000B7, 220, (198,))}
_IO_URING_SETUP, _CLONE3 = 425, 435  # other ways to get a socket, and a process
_CLONE_THREAD = 0x10000


def _called(result: int, what: str) -> int:
    """`result` of a C function, unless it means failure.

    Raises:
        OSError: it is negative; the text begins with `what`.
    """
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _own_namespaces() -> None:
    """Go on as the first process of new namespaces, without network and without other processes."""
    # Where a host allows none, the kernel's error is "No space left on device": the text names the setting.
    _called(_libc.unshare(_NAMESPACES), "no user namespace of its own (user.max_user_namespaces)")
    # The child is the first process of the namespace: when it ends, the kernel kills all others there.
    if child := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    _called(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def _only_files_of(folder: str) -> None:
    """Deny access to files, except all in `folder`, and reading those of Python and of the system."""
    version = _called(_libc.syscall(_CREATE_RULESET, None, 0, 1), "no Landlock")
    handled = max(rights for since, rights in _RIGHTS.items() if since <= version)
    attributes = ctypes.create_string_buffer(struct.pack("=Q", handled), 8)
    ruleset = _called(_libc.syscall(_CREATE_RULESET, attributes, 8, 0), "Landlock")
    read = _EXECUTE | _READ_FILE | _READ_DIR
    allowed = dict.fromkeys((*_SYSTEM, sys.prefix, sys.base_prefix, *sys.path), read)
    for path, rights in (allowed | {"/dev/null": read | _WRITE_FILE | _TRUNCATE, folder: handled}).items():
        if not os.path.exists(path):  # noqa: PTH110 - pathlib takes time to import
            continue
        if not os.path.isdir(path):  # noqa: PTH112
            rights &= _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV  # noqa: PLW2901
        where = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights & handled, where), 12)
        _called(_libc.syscall(_ADD_RULE, ruleset, 1, rule, 0), f"Landlock: {path}")
        os.close(where)
    _called(_libc.syscall(_RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


def _no_sockets_and_processes() -> None:
    """Deny sockets and new processes, but not threads, by a seccomp filter.

    Landlock does not keep a program from Unix sockets of daemons on this host, and the limit on processes
    does not hold for root.
    """
    if platform.machine() not in _MACHINES:
        raise OSError(0, f"no list of system calls for {platform.machine()}")
    machine, clone, refused = _MACHINES[platform.machine()]
    kill, allow, refuse, unknown = 0x80000000, 0x7FFF0000, 0x00050000 | 13, 0x00050000 | 38  # SECCOMP_RET_*
    load, equal, at_least, any_bit, give = (
        0x20,
        0x15,
        0x35,
        0x45,
        0x06,
    )  # BPF_LD | W | ABS, BPF_JMP | …, BPF_RET
    # A step is (operation, a, b, number). A comparison with the number skips a of the next steps if it
    # holds, and b of them if it does not.
    program = [
        (load, 0, 0, 4),  # the machine
        (equal, 1, 0, machine),
        (give, 0, 0, kill),
        (load, 0, 0, 0),  # the call
        *(
            step
            for call in (*refused, _IO_URING_SETUP)
            for step in ((equal, 0, 1, call), (give, 0, 0, refuse))
        ),
        (at_least, 0, 1, 0x40000000),  # the same calls under other numbers, in the x32 ABI
        (give, 0, 0, refuse),
        (equal, 0, 1, _CLONE3),  # a filter cannot read its flags: "unknown" makes libc use clone
        (give, 0, 0, unknown),
        (equal, 0, 3, clone),
        (load, 0, 0, 16),  # its flags
        (any_bit, 1, 0, _CLONE_THREAD),
        (give, 0, 0, refuse),
        (give, 0, 0, allow),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    _called(_libc.prctl(_PR_SET_SECCOMP, 2, filters, 0, 0), "seccomp")


def _limits(seconds: int) -> None:
    """Limit processor time to `seconds`; memory, files and threads as the constants above say."""
    for what, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_FSIZE, _FILE),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_NPROC, _THREADS),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)  # noqa: PLW2901
        resource.setrlimit(what, (most, most))


def main() -> None:
    """Run the program given on standard input; write the word given with it to standard output at its end.

    The command line holds the folder of the program and its limit of processor time in seconds. Where the
    sandbox cannot be made, the exit status is `NO_WALLS`.
    """
    folder, seconds = sys.argv[1], int(sys.argv[2])
    question = json.load(sys.stdin)
    os.chdir(folder)
    answer = os.dup(1)
    try:
        _own_namespaces()
        _called(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
        # The first process of a namespace ignores signals without a handler: the program is the second.
        if child := os.fork():
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
        _limits(seconds)
        _only_files_of(folder)
        _no_sockets_and_processes()
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        os._exit(NO_WALLS)
    nothing = os.open("/dev/null", os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    exec(question["program"], {"__name__": "__main__"})  # noqa: S102 - the purpose of this script
    # Written only if the program came to its end: one that exits early has not passed.
    os.write(answer, question["word"].encode())
    os._exit(0)


if __name__ == "__main__":
    main()
