"""The environment variables that OAR's commands go by, and which of them are passed on."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.executors.launchers import without_launchers

_PREFIXES = ("OAR", "SUBMITIT_")


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without the variables that change what OAR's commands do or answer.

    They are set where a master runs inside a job: OAR_JOB_KEY_FILE would give every job that job's key.
    Which cluster is asked, OAR's commands know by themselves.
    """
    mine = without_launchers(environment)
    return {k: v for k, v in mine.items() if not k.startswith(_PREFIXES)}
