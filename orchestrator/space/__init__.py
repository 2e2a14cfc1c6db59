"""The search space: parameters, conditions and constraints in natural units, and their image in the unit
cube. Log scales and rounding live here and nowhere else.
"""

from orchestrator.space.parameter import Choice, Float, Int, Point
from orchestrator.space.space import SearchSpace

__all__ = ["Choice", "Float", "Int", "Point", "SearchSpace"]
