"""Bootstrap confidence intervals: how much a mean would move with other instances of the same categories."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.evaluation.interface import Interval

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


def resampled_cluster_means(
    values: NDArray[np.float64], clusters: NDArray[np.int64], samples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means [samples] over the values of as many clusters, drawn with replacement, as there are clusters.

    Values of one cluster, such as views of one mesh, tell much the same: drawn one by one they would seem to tell more.

    Args:
        values: [N] float64, N > 0.
        clusters: [N] int64, equal where values belong together.
    """
    places = np.unique(clusters, return_inverse=True)[1]
    sums, counts = np.bincount(places, values), np.bincount(places)
    drawn = rng.integers(0, len(sums), (samples, len(sums)))
    means: NDArray[np.float64] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means


def stratified_means(
    values: NDArray[np.float64],
    strata: NDArray[np.int64],
    samples: int,
    seed: int,
    clusters: NDArray[np.int64] | None = None,
) -> dict[int, NDArray[np.float64]]:
    """Resampled means [samples] of every stratum, drawn within it; NaN values are no part of it.

    Each stratum draws from a generator of its own, from (seed, stratum), so the others do not change its interval.

    Args:
        values: [N] float64.
        strata: [N] int64.
        clusters: [N] int64, what is drawn as a whole; the values of a stratum of one cluster are drawn one by one.
    """
    defined = ~np.isnan(values)
    means = {}
    for stratum in np.unique(strata).tolist():
        own, rng = (strata == stratum) & defined, np.random.default_rng([seed, stratum % 2**64])
        if clusters is None or len(np.unique(clusters[own])) < 2:
            means[stratum] = resampled_means(values[own], samples, rng)
        else:
            means[stratum] = resampled_cluster_means(values[own], clusters[own], samples, rng)
    return means


def interval(means: NDArray[np.float64]) -> Interval:
    """The 95 % percentile interval of resampled means [samples]; NaN where one is NaN or there are none."""
    if len(means) == 0 or np.isnan(means).any():
        return Interval(low=float("nan"), high=float("nan"))
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(low=float(low), high=float(high))
