"""What an evaluation reads, and what that allows: the manifest of what was prepared, limits, lineage.
Without torch: the login node asks too.
"""

from jobs.inputs.limits import length_problems, lora_problems
from jobs.inputs.lineage import lineage
from jobs.inputs.manifest import Prepared, require_prepared

__all__ = ["Prepared", "length_problems", "lineage", "lora_problems", "require_prepared"]
