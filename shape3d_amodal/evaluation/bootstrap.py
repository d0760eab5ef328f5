"""Bootstrap confidence intervals: how much a mean would move with other instances of the same categories."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DRAWS = 1_000_000
"""Instances drawn at once, which bounds the memory."""


def resampled_means(values: NDArray[np.float64], samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Means [samples] of as many draws with replacement from ``values`` [N] as there are values; NaN without any."""
    count = len(values)
    if count == 0:
        return np.full(samples, np.nan)
    block = max(1, _DRAWS // count)
    means = [
        values[rng.integers(0, count, (min(block, samples - start), count))].mean(axis=1)
        for start in range(0, samples, block)
    ]
    return np.concatenate(means)


def stratified_means(
    values: NDArray[np.float64], strata: NDArray[np.int64], samples: int, seed: int
) -> dict[int, NDArray[np.float64]]:
    """Resampled means [samples] of every stratum, drawn within it; NaN values are no part of it.

    Each stratum draws from a generator of its own, from (seed, stratum), so the others do not change its interval.

    Args:
        values: [N] float64.
        strata: [N] int64, at least 0.
    """
    return {
        int(stratum): resampled_means(
            values[(strata == stratum) & ~np.isnan(values)], samples, np.random.default_rng([seed, int(stratum)])
        )
        for stratum in np.unique(strata)
    }


def interval(means: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of resampled means [samples]; NaN where they are NaN."""
    if np.isnan(means).any():
        return float("nan"), float("nan")
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
