"""The paper's mean shift: from a pixel without an instance to the mean of those around it, until the mean is stable.

The neighbours of a mean are found fast by two sums of coordinates, with different signs: points that are less than
``radius`` (L1) apart differ by less than that in both sums. Points are sorted by the first sum, and the distance is
computed only for those that are near the mean in both.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

MAX_SHIFTS = 100
"""Largest number of shifts of one mean; with a flat kernel and L1 distance they may not converge."""
_ROUNDING = 1e-9
"""Bound of the rounding error of a sum, as a share of the largest L1 norm."""


def mean_shift(points: NDArray[np.float32], radius: float, *, seed: int = 0) -> NDArray[np.int64]:
    """The cluster of each point, [P] int64 from 0 on.

    A mean moves to the mean of the points without a cluster that are less than ``radius`` (L1) away. When it is stable,
    these points and the point where it started become a cluster.

    Args:
        points: [P,C] float32.
        seed: random seed of the order of the starting points.
    """
    points = np.ascontiguousarray(points, np.float32)
    starts = np.random.default_rng(seed).permutation(len(points))
    even, odd = (points[:, k::2].sum(axis=1, dtype=np.float64) for k in (0, 1))
    reach = radius + _ROUNDING * np.abs(points).sum(axis=1, dtype=np.float64).max(initial=0)
    ranks = np.argsort(even + odd)
    ranked = (ranks, points[ranks], (even + odd)[ranks], (even - odd)[ranks])
    labels: NDArray[np.int64] = _cluster(points, radius, starts, ranked, reach)
    return labels


@njit(cache=True)
def _cluster(points, radius, starts, ranked, reach):  # type: ignore[no-untyped-def]
    """``ranked``: numbers [P] of the points by their first sum, and in that order points [P,C] and both sums [P]."""
    numbers, _, _, second = ranked
    place = np.empty(len(points), np.int64)
    place[numbers] = np.arange(len(points))
    labels = np.full(len(points), -1)
    near = np.empty(len(points) + 1, np.int64)
    count = 0
    for start in starts:
        if labels[start] >= 0:
            continue
        mean = points[start].astype(np.float64)
        size = _find_near(ranked, mean, radius, reach, near)
        for _ in range(MAX_SHIFTS):
            moved = _mean_of(points, near[:size])
            if size == 0 or np.all(moved == mean):
                break
            mean = moved
            size = _find_near(ranked, mean, radius, reach, near)
        near[size] = start  # the mean may have moved away from it
        for i in near[: size + 1]:
            labels[i] = count
            second[place[i]] = np.inf  # near nothing from now on
        count += 1
    return labels


@njit(cache=True)
def _find_near(ranked, centre, radius, reach, near):  # type: ignore[no-untyped-def]
    """Write the numbers of the unlabelled points near ``centre`` into ``near``, ascending; returns their count."""
    numbers, points, first, second = ranked
    even, odd = centre[::2].sum(), centre[1::2].sum()
    size = 0
    for k in range(np.searchsorted(first, even + odd - reach), np.searchsorted(first, even + odd + reach)):
        if abs(second[k] - (even - odd)) < reach and _near(points[k], centre, radius):
            near[size] = numbers[k]
            size += 1
    near[:size].sort()  # the last digit of a mean depends on the order of addition
    return size


@njit(cache=True)
def _mean_of(points, chosen):  # type: ignore[no-untyped-def]
    """The mean of the points ``chosen``; zeros where there are none."""
    total = np.zeros(points.shape[1])
    for i in chosen:
        for k in range(len(total)):
            total[k] += points[i, k]
    return total / max(len(chosen), 1)


@njit(cache=True)
def _near(point, centre, radius):  # type: ignore[no-untyped-def]
    distance = 0.0
    for k in range(len(centre)):
        distance += abs(point[k] - centre[k])
        if distance >= radius:
            return False
    return True
