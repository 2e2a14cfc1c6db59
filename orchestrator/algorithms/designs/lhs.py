"""One Latin hypercube of the whole budget (McKay, Beckman & Conover 1979).

Every axis is cut into `budget` strata and each holds one point; the guarantee is the whole design's, which is
why it is drawn once and not point by point.
"""

from __future__ import annotations

import numpy as np

from orchestrator.algorithms.planned import Planned
from orchestrator.space.sampling import latin_hypercube


class LatinHypercube(Planned):
    """The design is drawn when first asked for: what was enqueued by then has its share of the budget."""

    def _plan(self) -> None:
        if len(self._points) > len(self._enqueued):  # the one design is drawn
            return
        size = self.budget - len(self._enqueued)
        for point in latin_hypercube(self.space, size, np.random.default_rng(self.seed)):
            self._append(point)
