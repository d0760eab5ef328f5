"""Compiled arithmetic on run-length codes, without decoding masks.

``letters`` are COCO's compressed text as uint8, runs are lengths as int64 (background first, then foreground and
background in turn), ``pixels`` is the number of pixels of the image. Only ``runs`` is safe for unchecked codes.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def runs(letters, pixels):  # type: ignore[no-untyped-def]
    """The runs, a key of ``rle._FAULTS`` (0 if valid), and whether no run is empty, except perhaps the first."""
    runs = np.zeros(len(letters), dtype=np.int64)
    count = 0
    total = 0
    position = 0
    plain = True
    while position < len(letters):
        value = 0
        shift = 0
        group = 32
        while group & 32:  # the sixth bit: more groups follow
            if position == len(letters):
                return runs[:count], 1, plain
            group = np.int64(letters[position]) - 48
            position += 1
            if group < 0 or group > 63:
                return runs[:count], 2, plain
            if shift > 30:
                return runs[:count], 3, plain
            value |= (group & 31) << shift
            shift += 5
        if group & 16:  # the fifth bit of the last group is the sign
            value -= 1 << shift
        if count > 2:
            value += runs[count - 2]
        if value < 0:
            return runs[:count], 4, plain
        total += value
        if total > pixels:
            return runs[:count], 5, plain
        plain = plain and (value > 0 or count == 0)
        runs[count] = value
        count += 1
    return runs[:count], 0 if total == pixels else 6, plain


@njit(cache=True)
def subtract_runs(first, second):  # type: ignore[no-untyped-def]
    """Runs of ``first`` minus ``second`` (int64, same sum), none of them empty, except perhaps the first."""
    result = np.zeros(len(first) + len(second) + 1, dtype=np.int64)
    last = 0
    i = 0
    j = 0
    left_first = first[0]
    left_second = second[0]
    while True:
        step = min(left_first, left_second)
        inside = (i & 1) & ~(j & 1)
        if step > 0:
            if inside != last & 1:
                last += 1
            result[last] += step
        left_first -= step
        left_second -= step
        while left_second == 0 and j + 1 < len(second):
            j += 1
            left_second = second[j]
        while left_first == 0:
            i += 1
            if i == len(first):
                return result[: last + 1]
            left_first = first[i]


@njit(cache=True)
def subtract(first, second, pixels):  # type: ignore[no-untyped-def]
    return subtract_runs(runs(first, pixels)[0], runs(second, pixels)[0])


@njit(cache=True)
def area(letters, pixels):  # type: ignore[no-untyped-def]
    return runs(letters, pixels)[0][1::2].sum()


@njit(cache=True)
def hidden_share(amodal, visible, pixels):  # type: ignore[no-untyped-def]
    return subtract(amodal, visible, pixels)[1::2].sum() / area(amodal, pixels)


@njit(cache=True)
def shared(first, second, pixels):  # type: ignore[no-untyped-def]
    """Pixels inside both."""
    one, two = runs(first, pixels)[0], runs(second, pixels)[0]
    return one[1::2].sum() - subtract_runs(one, two)[1::2].sum()


@njit(cache=True)
def box(letters, pixels, height):  # type: ignore[no-untyped-def]
    """Left, top, width and height of the tight box in an image of ``height`` rows; zeros for an empty mask."""
    left, right, top, bottom = pixels, -1, height, -1
    start = 0
    for index, run in enumerate(runs(letters, pixels)[0]):
        end = start + run
        if index & 1 and run > 0:
            left = min(left, start // height)
            right = (end - 1) // height
            within = start // height == right
            top = min(top, start % height if within else 0)
            bottom = max(bottom, (end - 1) % height if within else height - 1)
        start = end
    return (left, top, right + 1 - left, bottom + 1 - top) if right >= 0 else (0, 0, 0, 0)


@njit(cache=True)
def fill(letters, pixels, height, top, left, mask):  # type: ignore[no-untyped-def]
    """Draw the pixels inside into ``mask`` [h,w], all False, whose corner lies at row ``top``, column ``left``."""
    position = 0
    for index, run in enumerate(runs(letters, pixels)[0]):
        if index & 1:
            for pixel in range(position, position + run):
                mask[pixel % height - top, pixel // height - left] = True
        position += run


@njit(cache=True)
def measure(points):  # type: ignore[no-untyped-def]
    """The largest absolute coordinate, and the length of a closed outline in steps to one of the 8 neighbour pixels.

    ``points`` are float64 [2P]: x1, y1, x2, y2, ...; both results are NaN if a coordinate is.
    """
    farthest = 0.0
    length = 0.0
    for i in range(0, len(points), 2):
        x, y = points[i], points[i + 1]
        if np.isnan(x) or np.isnan(y):
            return np.nan, np.nan
        farthest = max(farthest, abs(x), abs(y))
        length += max(abs(x - points[i - 2]), abs(y - points[i - 1]))
    return farthest, length
