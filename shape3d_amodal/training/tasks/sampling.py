"""Which rows of a source training draws: any as often as another, or rare categories more often."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Rows:
    """Rows to draw from.

    Args:
        rows: [M] int64, at least one.
        category: [N] int64, of all rows of the source.
        balance: 0..1; a category of which ``rows`` has n is drawn in proportion to n ** (1 - balance): 0 draws every
            row as often as another, 1 every category as often as another.
    """

    def __init__(self, rows: NDArray[np.int64], category: NDArray[np.int64], balance: float) -> None:
        self.rows = rows
        self._until: NDArray[np.float64] | None = None
        if balance > 0:
            own = np.asarray(category)[rows]
            weight = np.bincount(own).astype(np.float64).clip(min=1)[own] ** -balance
            self._until = np.cumsum(weight) / weight.sum()

    def draw(self, generator: np.random.Generator, size: int) -> NDArray[np.int64]:
        """``size`` rows, any of them several times."""
        if self._until is None:
            return self.rows[generator.integers(len(self.rows), size=size)]
        place = np.searchsorted(self._until, generator.random(size), side="right")
        return self.rows[np.minimum(place, len(self.rows) - 1)]
