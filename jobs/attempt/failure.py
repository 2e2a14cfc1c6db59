"""Why an evaluation has no score: from an exception to a failure class and one line for a person."""

from __future__ import annotations

import errno
import math
import os
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.contract import Failure, Metric
from orchestrator.errors import InputError, OrchestratorError

_LONGEST_MESSAGE = 2000  # characters; result.json fits the space that is reserved for it
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory")
# What CUDA, its driver and NCCL say of a device or a link that is broken. "Device-side assert" and "illegal
# memory access" are not among them: they are the program's.
_HOST_FAULTS = (
    "ecc error", "nvlink error", "no cuda-capable device", "busy or unavailable", "found no nvidia driver",
    "driver initialization failed", "invalid device ordinal", "unspecified launch failure", "gpu is lost",
    "fallen off the bus", "hardware stack error", "illegal instruction was encountered",
    "system not yet initialized", "system has unsupported display driver", "cuda unknown error",
    "cuda error: unknown error", "cuda error: initialization error", "driver/library version mismatch",
    "unable to determine the device handle", "unhandled system error", "ncclsystemerror",
)  # fmt: skip
_BROKEN = (errno.EIO, errno.EREMOTEIO, errno.ESTALE, errno.ENODEV, errno.ENXIO)  # a disk, a mount or a device
_BY_NUMBER = {
    **dict.fromkeys(_FULL, Failure.DISK_FULL),
    **dict.fromkeys(_BROKEN, Failure.HOST_FAULT),
    errno.ENOMEM: Failure.OUT_OF_MEMORY,
}
_ROOT = Path(__file__).parents[2]
_OWN = tuple(str(_ROOT / package) for package in ("jobs", "orchestrator"))


class EvaluationFailed(OrchestratorError):
    """An evaluation that ends without a score for a known reason; the caller records it.

    Attributes:
        failure: the class of the failure.
    """

    def __init__(self, failure: Failure, message: str) -> None:
        self.failure = failure
        super().__init__(message)


def diverged(message: str) -> EvaluationFailed:
    """The error for an evaluation in which a number that must be finite is not."""
    return EvaluationFailed(Failure.DIVERGED, message)


def classified(error: BaseException) -> tuple[Failure, str]:
    """Failure class and message of `error`, or of what caused it if that says more."""
    for one in _chain(error):
        if (failure := _failure_of(one)) is not None:
            return failure, one_line(_message_of(one, failure))
    return Failure.PROGRAM_ERROR, one_line(f"{type(error).__name__}: {error}{_place(error)}")


def one_line(text: str) -> str:
    """`text` in one line of at most 2,000 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"


def is_full_disk(error: BaseException) -> bool:
    """True if `error`, or one that caused it, says that a disk is full or a quota is used up."""
    return any(isinstance(one, OSError) and one.errno in _FULL for one in _chain(error))


def names_memory(text: str) -> bool:
    """True if `text`, what a failed program wrote, says that there was too little memory."""
    return "MemoryError" in text or any(words in text.lower() for words in _NO_MEMORY)


def names_host_fault(text: str) -> bool:
    """True if `text`, of an error or of what a failed program wrote, says that a device cannot be used."""
    return any(words in text.lower() for words in _HOST_FAULTS)


def check_finite(metrics: Mapping[str, Metric | float]) -> None:
    """Check that all values are finite.

    Raises:
        EvaluationFailed: a value is NaN or infinite.
    """
    for name, metric in metrics.items():
        value = metric.value if isinstance(metric, Metric) else metric
        if not math.isfinite(value):
            raise diverged(f"metric {name} is {value}: this configuration has no score")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, then what caused it, what caused that, and so on."""
    seen: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in seen:
        seen.append(one)
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _failure_of(error: BaseException) -> Failure | None:  # noqa: PLR0911 - one line a class
    """The failure class that a single error implies; None if it implies none."""
    if isinstance(error, EvaluationFailed):
        return error.failure
    if isinstance(error, InputError):
        return Failure.BAD_DATA
    # PyTorch's own class is told by its name: a command evaluation never imports torch.
    named = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, MemoryError) or "OutOfMemoryError" in named:
        return Failure.OUT_OF_MEMORY
    if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY):
        return Failure.OUT_OF_MEMORY
    if isinstance(error, RuntimeError) and names_host_fault(str(error)):
        return Failure.HOST_FAULT
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        return _BY_NUMBER[error.errno]
    if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
        return Failure.MISSING_INPUT
    return None


def _message_of(error: BaseException, failure: Failure) -> str:
    """What happened, where, and what to do about it."""
    if isinstance(error, OrchestratorError):
        return str(error)
    if failure is Failure.OUT_OF_MEMORY:
        remedy = "give the job more memory, or lower micro_batch_size or max_length in [evaluation]"
        return f"out of memory: {error or type(error).__name__}{_place(error)}: {remedy}"
    if failure is Failure.HOST_FAULT:
        return f"{type(error).__name__}: {error}{_place(error)}: another host may do it"
    if failure is Failure.DISK_FULL:
        where = getattr(error, "filename", None) or "the run's filesystem"
        return f"no space left on {where}: free some or raise the quota, then `orchestrator resume`"
    remedy = "check the path and its permissions on this host, or run `orchestrator prepare STUDY`"
    return f"{error}{_place(error)}: {remedy}"


def _place(error: BaseException) -> str:
    """The innermost frame of our own code: ' (jobs/tasks/score.py:12 in scored)'."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if frame.filename.startswith(_OWN):
            return f" ({Path(frame.filename).relative_to(_ROOT)}:{frame.lineno} in {frame.name})"
    return ""


def failure_of(said: str) -> Failure:
    """The failure class that the last lines of a failed program imply."""
    if names_memory(said):
        return Failure.OUT_OF_MEMORY
    if names_host_fault(said):
        return Failure.HOST_FAULT
    full = any(os.strerror(number) in said for number in _FULL)
    return Failure.DISK_FULL if full else Failure.PROGRAM_ERROR
