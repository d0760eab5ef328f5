"""The square window around a visible mask, and crops of masks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Window = tuple[float, float, float]
"""Left, top and side in image pixels."""

ENLARGE = 3.0
"""Area of the window over that of the box."""
MARGIN = 1.1
"""Least side of the window over each side of the box."""
_MOST_SAMPLES = 8


def tight_box(mask: Mask) -> tuple[int, int, int, int]:
    """x, y, width, height of the box around the pixels of ``mask`` [H,W] bool, which is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1


def object_window(mask: Mask) -> Window:
    """The square about the middle of the mask's box, of side max(sqrt(3 w h), 1.1 w, 1.1 h)."""
    x, y, width, height = tight_box(mask)
    side = max(math.sqrt(ENLARGE * width * height), MARGIN * width, MARGIN * height)
    return x + width / 2 - side / 2, y + height / 2 - side / 2, side


def look(mask: Mask, window: Window, size: int) -> Mask:
    """The crop [size,size] bool of ``mask`` [H,W] bool in a window: pixels that it covers at least half of.

    Pixels beyond the image are not covered.
    """
    left, top, side = window
    samples = min(max(math.ceil(side / size), 1), _MOST_SAMPLES)
    steps = (np.arange(size * samples) + 0.5) * (side / (size * samples))
    rows, columns = np.floor(top + steps).astype(int), np.floor(left + steps).astype(int)
    inside = [(places >= 0) & (places < length) for places, length in zip((rows, columns), mask.shape, strict=True)]
    fine = np.zeros((len(rows), len(columns)), bool)
    fine[np.ix_(*inside)] = mask[np.ix_(rows[inside[0]], columns[inside[1]])]
    if samples == 1:
        return fine
    share: Mask = fine.reshape(size, samples, size, samples).mean(axis=(1, 3)) >= 0.5
    return share
