"""Many small searches side by side by evolution with an adapted covariance (CMA-ES; Hansen, arXiv:1604.00772).

A hard silhouette has no gradient, and near the right pose every pixel counts: there samples find what steps do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Evolution:
    """B searches for the largest value of a function of n numbers, each from the origin.

    Args:
        axes: [B,n,n], for each search a matrix whose columns are first steps of one standard deviation.
        samples: a generation's, for each search.
        rng: draws the samples.

    Attributes:
        best: [B], the largest value that each search has met.
        place: [B,n], where.
    """

    def __init__(self, axes: Array, samples: int, rng: np.random.Generator) -> None:
        searches, n, kept = *axes.shape[:2], samples // 2
        self._axes, self._samples, self._rng = axes, samples, rng
        weights = math.log(kept + 0.5) - np.log(np.arange(1, kept + 1))
        self._weights = weights / weights.sum()
        mass = 1 / (self._weights**2).sum()
        # The default settings of the tutorial's table 1.
        self._path_rate = (mass + 2) / (n + mass + 5)
        self._damping = 1 + 2 * max(0.0, math.sqrt((mass - 1) / (n + 1)) - 1) + self._path_rate
        self._shape_rate = (4 + mass / n) / (n + 4 + 2 * mass / n)
        self._one_rate = 2 / ((n + 1.3) ** 2 + mass)
        self._many_rate = min(1 - self._one_rate, 2 * (mass - 2 + 1 / mass) / ((n + 2) ** 2 + mass))
        self._mass, self._length = mass, math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
        self._mean, self._path, self._shape_path = (np.zeros((searches, n)) for _ in range(3))
        self._sigma, self._covariance = np.ones(searches), np.tile(np.eye(n), (searches, 1, 1))
        self._generation = 0
        self.best, self.place = np.full(searches, -np.inf), np.zeros((searches, n))

    def __len__(self) -> int:
        return len(self.best)

    def keep(self, chosen: NDArray[np.int64]) -> None:
        """Go on with these searches alone."""
        for name in ("_axes", "_mean", "_path", "_shape_path", "_sigma", "_covariance", "best", "place"):
            setattr(self, name, getattr(self, name)[chosen])

    def step(self, function: Callable[[Array], Array]) -> tuple[Array, Array]:
        """One generation.

        Args:
            function: values [B,L] of places [B,L,n].

        Returns:
            The places and their values.
        """
        variance, axes = np.linalg.eigh(self._covariance)
        deviation = np.sqrt(np.maximum(variance, 1e-20))
        drawn = self._rng.standard_normal((len(self), self._samples, self._axes.shape[1]))
        moves = np.einsum("bij,bj,blj->bli", axes, deviation, drawn)
        places = np.einsum("bij,blj->bli", self._axes, self._mean[:, None] + self._sigma[:, None, None] * moves)
        values = function(places)
        order = np.argsort(-values, axis=1, kind="stable")[:, : len(self._weights)]
        self._remember(places, values, order[:, 0])
        self._adapt(np.take_along_axis(moves, order[..., None], axis=1), axes, deviation)
        return places, values

    def _remember(self, places: Array, values: Array, top: NDArray[np.int64]) -> None:
        rows = np.arange(len(self))
        better = values[rows, top] > self.best
        self.best[better], self.place[better] = values[rows, top][better], places[rows, top][better]

    def _adapt(self, kept: Array, axes: Array, deviation: Array) -> None:
        """Mean, paths, covariance and step size after a generation; ``kept`` [B,mu,n] are its best moves."""
        n = self._axes.shape[1]
        move = np.einsum("m,bmi->bi", self._weights, kept)
        self._mean += self._sigma[:, None] * move
        white = np.einsum("bij,bj,bkj,bk->bi", axes, 1 / deviation, axes, move)
        rate = self._path_rate
        self._path = (1 - rate) * self._path + math.sqrt(rate * (2 - rate) * self._mass) * white
        self._generation += 1
        length = np.linalg.norm(self._path, axis=1)
        expected = math.sqrt(1 - (1 - rate) ** (2 * self._generation)) * (1.4 + 2 / (n + 1)) * self._length
        steady = (length < expected).astype(float)[:, None]
        rate = self._shape_rate
        self._shape_path = (1 - rate) * self._shape_path + steady * math.sqrt(rate * (2 - rate) * self._mass) * move
        lost = (1 - steady[:, :, None]) * rate * (2 - rate) * self._covariance
        outer = self._shape_path[:, :, None] * self._shape_path[:, None]
        many = np.einsum("m,bmi,bmj->bij", self._weights, kept, kept)
        left = (1 - self._one_rate - self._many_rate) * self._covariance
        self._covariance = left + self._one_rate * (outer + lost) + self._many_rate * many
        self._sigma *= np.exp(self._path_rate / self._damping * (length / self._length - 1))
