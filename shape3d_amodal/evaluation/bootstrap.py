"""Bootstrap confidence intervals: how much a mean would change with other instances of the same categories."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.evaluation.interface import Interval

_DRAWS = 1_000_000  # values drawn at once, which bounds the memory


def resampled_means(
    values: NDArray[np.float64], samples: int, rng: np.random.Generator, clusters: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Means [samples] of random resamples: as many draws with replacement as there are values, or clusters of values.

    Values of one cluster, such as views of one mesh, resemble each other: drawn one by one they would make the interval
    too narrow.

    Args:
        values: [N] float64; without any the means are NaN.
        clusters: [N] int64, equal for values that are drawn together; None draws each value by itself.
    """
    if len(values) == 0:
        return np.full(samples, np.nan)
    sums: NDArray[Any] = values
    counts = None
    if clusters is not None:
        places = np.unique(clusters, return_inverse=True)[1]
        sums, counts = np.bincount(places, values), np.bincount(places)
    block = max(1, _DRAWS // len(sums))
    means = []
    for start in range(0, samples, block):
        drawn = rng.integers(0, len(sums), (min(block, samples - start), len(sums)))
        total = len(values) if counts is None else counts[drawn].sum(axis=1)
        means.append(sums[drawn].sum(axis=1) / total)
    return np.concatenate(means)


def stratified_means(
    values: NDArray[np.float64],
    strata: NDArray[np.int64],
    samples: int,
    seed: int,
    clusters: NDArray[np.int64] | None = None,
) -> dict[int, NDArray[np.float64]]:
    """Resampled means [samples] of every stratum, drawn within it; NaN values are left out.

    Each stratum has a random generator of its own, seeded by (seed, stratum), so that its interval does not depend on
    the other strata.

    Args:
        values: [N] float64.
        strata: [N] int64, the stratum of each value, such as its category id.
        clusters: [N] int64, as for ``resampled_means``; the values of a stratum with one cluster are drawn one by one.
    """
    defined = ~np.isnan(values)
    means = {}
    for stratum in np.unique(strata).tolist():
        own, rng = (strata == stratum) & defined, np.random.default_rng([seed, stratum % 2**64])
        drawn = None if clusters is None or len(np.unique(clusters[own])) < 2 else clusters[own]
        means[stratum] = resampled_means(values[own], samples, rng, drawn)
    return means


def interval(means: NDArray[np.float64]) -> Interval:
    """The 95 % percentile interval of resampled means [samples]; NaN where one of them is NaN or there are none."""
    if len(means) == 0 or np.isnan(means).any():
        return Interval(low=float("nan"), high=float("nan"))
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(low=float(low), high=float(high))
