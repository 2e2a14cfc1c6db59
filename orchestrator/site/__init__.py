"""What a cluster says of itself, and a profile drafted from it."""

from orchestrator.site.commands import ask, last_words, missing
from orchestrator.site.new_profile import write

__all__ = ["ask", "last_words", "missing", "write"]
