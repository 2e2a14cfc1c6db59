"""Exceptions and the classes they become."""

from __future__ import annotations

import errno

import pytest
import torch

from jobs.attempt.failure import EvaluationFailed, classified, failure_of
from jobs.data.mixture import mixed
from orchestrator.contract import Failure
from orchestrator.errors import InputError


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (MemoryError(), Failure.OUT_OF_MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory"), Failure.OUT_OF_MEMORY),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
            Failure.OUT_OF_MEMORY,
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), Failure.OUT_OF_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), Failure.DISK_FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), Failure.DISK_FULL),
        (FileNotFoundError(errno.ENOENT, "No such file", "/data/x"), Failure.MISSING_INPUT),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), Failure.MISSING_INPUT),
        (InputError("data: line 3: …"), Failure.BAD_DATA),
        (EvaluationFailed(Failure.DIVERGED, "nan"), Failure.DIVERGED),
        (OSError(errno.EIO, "Input/output error", "/scratch/x"), Failure.HOST_FAULT),
        (OSError(errno.ESTALE, "Stale file handle"), Failure.HOST_FAULT),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), Failure.HOST_FAULT),
        (RuntimeError("CUDA error: no CUDA-capable device is detected"), Failure.HOST_FAULT),
        (
            RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
            Failure.HOST_FAULT,
        ),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), Failure.HOST_FAULT),
        (RuntimeError("Found no NVIDIA driver on your system."), Failure.HOST_FAULT),
        (
            torch.distributed.DistBackendError("NCCL error in: …, unhandled system error (run with …)"),
            Failure.HOST_FAULT,
        ),
        (RuntimeError("CUDA error: device-side assert triggered"), Failure.PROGRAM_ERROR),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), Failure.PROGRAM_ERROR),
        (ValueError("a row about an ECC error"), Failure.PROGRAM_ERROR),
        (RuntimeError("shape mismatch"), Failure.PROGRAM_ERROR),
        (KeyError("x"), Failure.PROGRAM_ERROR),
    ],
)
def test_each_has_its_class(error: Exception, failure: Failure) -> None:
    found, message = classified(error)
    assert found is failure
    assert message
    assert "\n" not in message


def test_the_cause_tells_more_than_what_it_became() -> None:
    wrapped = RuntimeError("could not build the data set")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device", "/cache")
    failure, message = classified(wrapped)
    assert failure is Failure.DISK_FULL
    assert "/cache" in message


def test_a_defect_names_its_place() -> None:
    with pytest.raises(ValueError, match="many") as raised:
        mixed([[{"output": "a"}] * 3], ["many"])  # type: ignore[list-item]
    message = classified(raised.value)[1]
    assert message.startswith("ValueError: ")
    assert "jobs/data/mixture.py:" in message
    assert "in <listcomp>" in message or "in mixed" in message


def test_a_long_story_is_cut_to_one_line() -> None:
    message = classified(RuntimeError("first\nsecond " + "x" * 9999))[1]
    assert message.startswith("RuntimeError: first second")
    assert len(message) == 2000


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ("cp: error writing 'x': No space left on device", Failure.DISK_FULL),
        ("OSError: [Errno 122] Disk quota exceeded: '/home/x'", Failure.DISK_FULL),
        ("torch.OutOfMemoryError: CUDA out of memory", Failure.OUT_OF_MEMORY),
        ("NVLink error", Failure.HOST_FAULT),
        ("quota of patience exceeded", Failure.PROGRAM_ERROR),
    ],
)
def test_the_last_words_of_a_program_have_their_class(said: str, failure: Failure) -> None:
    assert failure_of(said) is failure
