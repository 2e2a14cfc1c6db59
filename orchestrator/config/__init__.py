"""The two files that a person writes: the study and the cluster profile, each validated whole."""

from orchestrator.config.profile import ClusterProfile, read_profile
from orchestrator.config.study import StudySpec, read_study

__all__ = ["ClusterProfile", "StudySpec", "read_profile", "read_study"]
