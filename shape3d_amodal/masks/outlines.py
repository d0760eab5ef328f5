"""Outlines of masks: closed loops along the edges of pixels, and polygons that COCO's rasteriser turns back exactly.

Pixel (row, column) is the square from (x, y) = (column, row) to (column + 1, row + 1). Loops keep the inside to
their right: clockwise (y points down) around a part, and counter-clockwise around a hole.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.structures import Rle


def loops(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The closed outlines of ``mask`` [H,W], each [P,2] int64: points (x, y), each 1 away from the next.

    Pixels that touch only at a corner belong to different loops.
    """
    points, ends = _trace(np.pad(mask, 1))
    return np.split(points[: ends[-1]], ends[:-1]) if len(ends) else []


def to_polygon(rle: Rle) -> list[int]:
    """One polygon x1, y1, x2, y2, ... that COCO's rasteriser turns back into exactly this mask; empty for an empty one.

    The outlines of several parts and holes are joined by lines that are walked in both directions, so that they enclose
    nothing under the even-odd rule.
    """
    mask, left, top = masks.crop(rle)
    outlines = [_corners(loop) for loop in loops(mask)]
    starts = [outline[:1] for outline in outlines]
    closed = [part for pair in zip(outlines, starts, strict=True) for part in pair]
    if len(outlines) == 1:
        closed.pop()
    points = np.concatenate([np.zeros((0, 2), np.int64), *closed, *starts[-2::-1]])
    polygon: NDArray[np.int64] = points + np.array([left, top])
    return polygon.ravel().tolist()


def _corners(loop: NDArray[np.int64]) -> NDArray[np.int64]:
    """The points of ``loop`` where it turns."""
    before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    return loop[(before != after).any(axis=1)]


@njit(cache=True)
def _trace(mask):  # type: ignore[no-untyped-def]
    """Loops of ``mask`` [H+2,W+2] bool, whose border is False: points int64 [P,2] and where each loop ends.

    Every loop goes east somewhere, along the upper side of a pixel inside the mask. It is followed from such a side; at
    each corner it turns right where there is an edge, else goes straight on, else turns left.
    """
    height, width = mask.shape
    edges = 0
    for row in range(1, height):
        for column in range(1, width):
            edges += (mask[row, column] != mask[row - 1, column]) + (mask[row, column] != mask[row, column - 1])
    points = np.zeros((edges, 2), dtype=np.int64)
    ends = np.zeros(edges, dtype=np.int64)
    visited = np.zeros(mask.shape, dtype=np.bool_)
    count = 0
    found = 0
    for first_row in range(1, height):
        for first_column in range(1, width):
            if visited[first_row, first_column] or not mask[first_row, first_column]:
                continue
            if mask[first_row - 1, first_column]:
                continue
            row, column, heading = first_row, first_column, 0
            while True:
                if heading == 0:
                    if visited[row, column]:
                        break
                    visited[row, column] = True
                points[count, 0] = column - 1
                points[count, 1] = row - 1
                count += 1
                row += heading == 1
                row -= heading == 3
                column += heading == 0
                column -= heading == 2
                heading = _turn(mask, row, column, heading)
            ends[found] = count
            found += 1
    return points, ends[:found]


@njit(cache=True)
def _turn(mask, row, column, heading):  # type: ignore[no-untyped-def]
    """The next heading (0 east, 1 south, 2 west, 3 north) at the upper left corner of pixel (row, column)."""
    around = (mask[row - 1, column], mask[row, column], mask[row, column - 1], mask[row - 1, column - 1])
    for change in (1, 0, 3):
        new = (heading + change) % 4
        # Pixels clockwise from north-east: heading h has pixel h to its left and pixel h + 1 to its right.
        if around[(new + 1) % 4] and not around[new]:
            return new
    return heading
