"""Masks decoded where they are, not over the whole image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.structures import Rle


def common_window(regions: Sequence[Rle]) -> list[NDArray[np.bool_]]:
    """Masks [h,w] bool of one image in the smallest window that holds them all; [0,0] where all are empty."""
    crops = [masks.crop(region) for region in regions]
    boxes = [(top, left, top + mask.shape[0], left + mask.shape[1]) for mask, left, top in crops if mask.size]
    corners = np.array(boxes or [(0, 0, 0, 0)])
    (y, x), (bottom, right) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    windows = [np.zeros((bottom - y, right - x), bool) for _ in crops]
    for window, (mask, left, top) in zip(windows, crops, strict=True):
        if mask.size:
            window[top - y : top - y + mask.shape[0], left - x : left - x + mask.shape[1]] = mask
    return windows
