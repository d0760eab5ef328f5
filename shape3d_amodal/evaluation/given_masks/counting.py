"""Pixel counts of masks, taken from their runs without decoding them: what the completion track keeps of an instance.

Runs are those of ``masks.rle.runs``: lengths in column-major order, background first.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def tally(first, second, third):  # type: ignore[no-untyped-def]
    """How many pixels lie in which of three masks of one size.

    Args:
        first, second, third: runs int64 [R], each of its own length, of equal sum.

    Returns:
        [8] int64; place 1 a + 2 b + 4 c counts the pixels with a, b, c saying whether they are in each mask.
    """
    counts = np.zeros(8, np.int64)
    i, j, k = 0, 0, 0
    left_i, left_j, left_k = first[0], second[0], third[0]
    while True:
        step = min(left_i, left_j, left_k)
        counts[(i & 1) + 2 * (j & 1) + 4 * (k & 1)] += step
        left_i, left_j, left_k = left_i - step, left_j - step, left_k - step
        while left_i == 0 and i + 1 < len(first):
            i += 1
            left_i = first[i]
        while left_j == 0 and j + 1 < len(second):
            j += 1
            left_j = second[j]
        while left_k == 0 and k + 1 < len(third):
            k += 1
            left_k = third[k]
        if left_i == 0 or left_j == 0 or left_k == 0:
            return counts


@njit(cache=True)
def band(runs, height, width, reach):  # type: ignore[no-untyped-def]
    """The pixels of a mask that its erosion by a square of side 2 ``reach`` + 1 takes away (``metrics.boundary``).

    Args:
        runs: int64 [R].
        reach: pixels, at least 1; outside of the image is background.

    Returns:
        [width,height] uint8, 1 inside.
    """
    mask, eroded = _fill(runs, height, width, 0), _fill(runs, height, width, reach)
    below = np.zeros(height, np.int64)  # columns up to this one that are inside without a gap, row by row
    for x in range(width):
        for y in range(height):
            below[y] = (below[y] + 1) * eroded[x, y]
        if x >= 2 * reach:
            for y in range(height):
                if below[y] > 2 * reach:
                    mask[x - reach, y] = 0
    return mask


@njit(cache=True)
def _fill(runs, height, width, reach):  # type: ignore[no-untyped-def]
    """The mask [width,height] uint8, each column's runs of pixels shortened by ``reach`` at both ends."""
    mask = np.zeros((width, height), np.uint8)
    position = 0
    for i in range(len(runs)):
        stop = position + runs[i]
        while i % 2 == 1 and position < stop:
            x, y = position // height, position % height
            end = min(stop, (x + 1) * height)
            mask[x, y + reach : max(y + (end - position) - reach, 0)] = 1
            position = end
        position = stop
    return mask
