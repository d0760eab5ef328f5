"""Pixels of run-length encoded masks, counted or compared without decoding whole images.

Runs are those of ``masks.rle.runs``: lengths in column-major order, background first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.structures import Rle


def common_window(regions: Sequence[Rle]) -> list[NDArray[np.bool_]]:
    """Masks [h,w] bool of one image in the smallest window that contains them all; [0,0] where all are empty."""
    crops = [masks.crop(region) for region in regions]
    boxes = [(top, left, top + mask.shape[0], left + mask.shape[1]) for mask, left, top in crops if mask.size]
    corners = np.array(boxes or [(0, 0, 0, 0)])
    (y, x), (bottom, right) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    windows = [np.zeros((bottom - y, right - x), bool) for _ in crops]
    for window, (mask, left, top) in zip(windows, crops, strict=True):
        if mask.size:
            window[top - y : top - y + mask.shape[0], left - x : left - x + mask.shape[1]] = mask
    return windows


@njit(cache=True)
def tally(first, second, third):  # type: ignore[no-untyped-def]
    """Count the pixels of three masks of the same size by the masks that contain them.

    Args:
        first, second, third: runs [R] int64 of the masks; R differs, the sum is the same.

    Returns:
        [8] int64; entry a + 2 b + 4 c is the number of pixels that are in the first mask (a = 1) or not (a = 0), in the
        second (b) and in the third one (c).
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
    """The boundary band of a mask: its pixels that an erosion by a square of side 2 ``reach`` + 1 removes.

    Args:
        runs: runs [R] int64 of the mask.
        height, width: size of the image in pixels.
        reach: width of the band in pixels, at least 1; outside of the image is background.

    Returns:
        [width,height] uint8, 1 in the band.
    """
    mask, eroded = _fill(runs, height, width, 0), _fill(runs, height, width, reach)
    gapless = np.zeros(height, np.int64)  # of each row, the number of inside pixels without a gap up to column x
    for x in range(width):
        for y in range(height):
            gapless[y] = (gapless[y] + 1) * eroded[x, y]
        if x >= 2 * reach:
            for y in range(height):
                if gapless[y] > 2 * reach:
                    mask[x - reach, y] = 0
    return mask


@njit(cache=True)
def _fill(runs, height, width, reach):  # type: ignore[no-untyped-def]
    """The mask [width,height] uint8, with the runs of each column shortened by ``reach`` pixels at both ends."""
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
