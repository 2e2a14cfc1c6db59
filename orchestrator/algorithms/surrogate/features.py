"""What a Gaussian process sees of a point of the unit cube."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch.nn.functional import one_hot


class Features:
    """What the process sees of a point: each axis, or a column for each option of a choice.

    So any two options are equally far apart, until the lengthscales say otherwise. Two options on one axis
    are that already.
    """

    def __init__(self, dimension: int, choices: Mapping[int, int]) -> None:
        self.dimension = dimension
        self._columns = [choices.get(axis, 1) for axis in range(dimension)]

    @property
    def axes(self) -> int:
        """How many columns there are."""
        return sum(count if count > 2 else 1 for count in self._columns)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of x (m, d): (m, axes), differentiable in the ordered axes."""
        if self.axes == self.dimension:
            return x
        columns = []
        for axis, count in enumerate(self._columns):
            column = x[:, axis]
            if count > 2:
                option = (column.detach() * count).long().clamp(0, count - 1)
                columns.append(one_hot(option, count).to(x.dtype) / math.sqrt(2))
            else:
                columns.append(column.unsqueeze(1))
        return torch.cat(columns, dim=1)
