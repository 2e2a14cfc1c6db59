"""Exceptions and the classes they become."""

from __future__ import annotations

import errno

import pytest
import torch

from jobs.data import split
from jobs.failure import EvaluationFailed, classified
from orchestrator.errors import InputError
from orchestrator.trial import Failure


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
    with pytest.raises(TypeError) as raised:
        split([{"output": "a"}] * 3, "many")  # type: ignore[arg-type]
    message = classified(raised.value)[1]
    assert message.startswith("TypeError: ")
    assert "jobs/data.py:" in message
    assert "in split" in message


def test_a_long_story_is_cut_to_one_line() -> None:
    message = classified(RuntimeError("first\nsecond " + "x" * 9999))[1]
    assert message.startswith("RuntimeError: first second")
    assert len(message) == 2000
