"""The program with all its commands."""

from __future__ import annotations

from orchestrator.cli import doctor, export, profiles, resumption, runs, studies
from orchestrator.cli.console import app

__all__ = ["app", "doctor", "export", "profiles", "resumption", "runs", "studies"]
