"""Placing masks over a crop: for each mask the size and shift that explain the certain pixels best.

The score is the certain-pixel IoU |T and visible| / (|visible| + |T| - |T and possible|), possible being visible or
occluder. Every shift is tried at which the silhouette's bounding box holds that of the visible mask: these are so few
that summing directly is faster than correlating by FFT, and boxes that are too small fall out before any pixel is read.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

PLACE = 4
"""Numbers of a place: score, length of the box's longer side, uppermost row and leftmost column, in pixels."""
_SEEN = 0.25
"""Pixels whose visible share exceeds this must lie within the silhouette's bounding box."""
_LARGEST = 1.5
"""Boxes are at most this many times as large as the crop."""


@njit(cache=True, nogil=True)
def _stretch(integral, height, width, pixels):  # type: ignore[no-untyped-def]
    """Draw the silhouette ``height`` x ``width`` pixels large; the rows and columns touched, and the area."""
    frame = integral.shape[0] - 1
    rows, columns = int(np.ceil(height)), int(np.ceil(width))
    area = np.float32(0.0)
    for y in range(rows):
        top = min(int(y / height * frame + 0.5), frame - 1)
        bottom = max(int(min((y + 1) / height, 1.0) * frame + 0.5), top + 1)
        covered_y = min(y + 1.0, height) - y
        for x in range(columns):
            left = min(int(x / width * frame + 0.5), frame - 1)
            right = max(int(min((x + 1) / width, 1.0) * frame + 0.5), left + 1)
            inside = (
                np.int64(integral[bottom, right])
                - np.int64(integral[top, right])
                - np.int64(integral[bottom, left])
                + np.int64(integral[top, left])
            )
            share = inside / ((bottom - top) * (right - left)) * covered_y * (min(x + 1.0, width) - x)
            pixels[y, x] = np.float32(share)
            area += np.float32(share)
    return rows, columns, area


@njit(cache=True, nogil=True, fastmath=True)
def _overlap(pixels, rows, columns, top, left, mask):  # type: ignore[no-untyped-def]
    """Sum of silhouette times mask, the silhouette's corner being at (top, left)."""
    total = np.float32(0.0)
    begin, end = max(0, left), min(mask.shape[1], left + columns)
    for y in range(max(0, top), min(mask.shape[0], top + rows)):
        for x in range(begin, end):
            total += pixels[y - top, x - left] * mask[y, x]
    return total


@njit(cache=True, nogil=True)
def _try_shifts(pixels, rows, columns, area, visible, possible, visible_area, span, size, best):  # type: ignore[no-untyped-def]
    """Improve ``best`` over the shifts ``span``: rows and columns from, to (inclusive)."""
    for top in range(span[0], span[1] + 1):
        for left in range(span[2], span[3] + 1):
            explained = _overlap(pixels, rows, columns, top, left, visible)
            if explained <= best[0] * visible_area:  # the score is at most explained / visible_area
                continue
            free = _overlap(pixels, rows, columns, top, left, possible)
            score = explained / max(visible_area + area - free, np.float32(1e-6))
            if score > best[0]:
                best[0], best[1], best[2], best[3] = score, size, top, left


@njit(cache=True, nogil=True)
def _place_all(integral, heights, widths, visible, possible, sizes, slack, places):  # type: ignore[no-untyped-def]
    side = visible.shape[0]
    visible_area = np.float32(0.0)
    y0, y1, x0, x1 = side, 0, side, 0
    for y in range(side):
        for x in range(side):
            visible_area += visible[y, x]
            if visible[y, x] > _SEEN:
                y0, y1, x0, x1 = min(y0, y), max(y1, y + 1), min(x0, x), max(x1, x + 1)
    pixels = np.empty((int(_LARGEST * side) + 2, int(_LARGEST * side) + 2), np.float32)
    span = np.empty(4, np.int64)
    for t in range(len(integral)):
        for size in sizes:
            height, width = max(heights[t] * size, 1.0), max(widths[t] * size, 1.0)
            if height < y1 - y0 - slack or width < x1 - x0 - slack or size > _LARGEST * side:
                continue
            rows, columns, area = _stretch(integral[t], height, width, pixels)
            if area <= places[t, 0] * visible_area:  # the score is at most area / visible_area
                continue
            span[0], span[1] = max(y1 - rows - slack, 1 - rows), min(y0 + slack, side - 1)
            span[2], span[3] = max(x1 - columns - slack, 1 - columns), min(x0 + slack, side - 1)
            _try_shifts(pixels, rows, columns, area, visible, possible, visible_area, span, size, places[t])


def place_all(
    integral: NDArray[np.uint16],
    shape: NDArray[np.float32],
    visible: NDArray[np.float32],
    possible: NDArray[np.float32],
    sizes: NDArray[np.float32],
    *,
    slack: int = 1,
) -> NDArray[np.float32]:
    """The best place of every silhouette over a crop, over the given sizes and all shifts that can be good.

    Args:
        integral: [T,F+1,F+1] uint16, integral image of each silhouette stretched to F x F pixels; the first row is
            the image's uppermost, the first column its leftmost.
        shape: [T,2] float32, height and width of each bounding box relative to its longer side.
        visible: [G,G] float32 in 0..1, share of each crop pixel that is visible.
        possible: [G,G] float32 in 0..1, visible or occluder.
        sizes: [S] float32, lengths of the longer side to try, in crop pixels.
        slack: pixels by which the visible mask's bounding box may stick out of the silhouette's.

    Returns:
        [T,PLACE] float32; the score is 0 where no size is large enough for what is visible.
    """
    places = np.zeros((len(integral), PLACE), np.float32)
    _place_all(integral, shape[:, 0], shape[:, 1], visible, possible, sizes, slack, places)
    return places
