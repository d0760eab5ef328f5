"""The paper's mean shift: from a pixel that has no instance yet to the mean of those around it, until that stays."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

MAX_SHIFTS = 100
"""Shifts of one mean; with a flat kernel and L1 distance they need not settle."""


def mean_shift(points: NDArray[np.float32], radius: float, *, seed: int = 0) -> NDArray[np.int64]:
    """The cluster of each point, [P] int64 from 0 on.

    A mean moves to the mean of the points less than ``radius`` (L1) away that have no cluster yet. Where it stays,
    these points, and that from which it started, become a cluster.

    Args:
        points: [P,C] float32.
        seed: of the order in which points are started from.
    """
    order = np.random.default_rng(seed).permutation(len(points))
    labels: NDArray[np.int64] = _cluster(np.ascontiguousarray(points, np.float32), radius, order)
    return labels


@njit(cache=True)
def _cluster(points, radius, order):  # type: ignore[no-untyped-def]
    labels = np.full(len(points), -1)
    left = np.arange(len(points))  # without a cluster are left[:size]
    size = len(points)
    count = 0
    for start in order:
        if labels[start] >= 0:
            continue
        mean = points[start].astype(np.float64)
        alone = False
        for shift in range(MAX_SHIFTS):
            moved, number = _mean_around(points, left[:size], mean, radius)
            alone = shift == 0 and number == 1
            if number == 0 or np.all(moved == mean):
                break
            mean = moved
        size = _take(points, left, size, start, mean, 0.0 if alone else radius, labels, count)
        count += 1
    return labels


@njit(cache=True)
def _mean_around(points, left, centre, radius):  # type: ignore[no-untyped-def]
    """The mean of the points ``left`` near ``centre``, and their number."""
    total = np.zeros_like(centre)
    number = 0
    for i in left:
        if _near(points[i], centre, radius):
            number += 1
            for k in range(len(centre)):
                total[k] += points[i, k]
    return total / max(number, 1), number


@njit(cache=True)
def _take(points, left, size, start, mean, radius, labels, count):  # type: ignore[no-untyped-def]
    """Label ``start`` and the points near ``mean``, and take them out of ``left[:size]``; returns its new size."""
    kept = 0
    for i in left[:size]:
        if i == start or (radius > 0 and _near(points[i], mean, radius)):
            labels[i] = count
        else:
            left[kept] = i
            kept += 1
    return kept


@njit(cache=True)
def _near(point, centre, radius):  # type: ignore[no-untyped-def]
    distance = 0.0
    for k in range(len(centre)):
        distance += abs(point[k] - centre[k])
        if distance >= radius:
            return False
    return True
