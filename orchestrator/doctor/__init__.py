"""Whether studies will run here: the login node, the scheduler, a host; each finding with its remedy."""

from orchestrator.doctor.examination import examine, try_host

__all__ = ["examine", "try_host"]
