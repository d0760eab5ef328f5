"""What is known of an object at the image's own resolution: inside, outside or unknown, pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.structures import InstanceCrops, Intrinsics

OUTSIDE, VISIBLE, UNKNOWN = 0, 1, 2
"""What a pixel is to an object: known background, its visible part, or what may hide it or lies beyond the image."""


@dataclass(frozen=True, eq=False, repr=False)
class PixelWindow(ArrayFields):
    """The pixels of one object's square window, none resampled.

    Attributes:
        state: [G,G] uint8 of ``OUTSIDE``, ``VISIBLE`` and ``UNKNOWN``.
        left, top: image pixel of its first column and row; the window may reach beyond the image.
        principal: (x, y) of the camera's principal point in image pixels; the image's middle where it is not known.
        intrinsics: the camera, where it is known: fx, fy, cx, cy in pixels.
    """

    state: NDArray[np.uint8]
    left: int
    top: int
    principal: tuple[float, float]
    intrinsics: Intrinsics | None = None

    @property
    def side(self) -> int:
        return len(self.state)


def pixel_window(
    visible: NDArray[np.bool_],
    occluder: NDArray[np.bool_],
    window: NDArray[np.float32],
    intrinsics: Intrinsics | None = None,
) -> PixelWindow:
    """The whole pixels of ``window`` [4] (x0, y0, x1, y1) of an image's masks [H,W] bool."""
    height, width = visible.shape
    left, top = math.floor(window[0]), math.floor(window[1])
    side = max(math.ceil(window[2]) - left, math.ceil(window[3]) - top, 1)
    rows, columns = slice(max(top, 0), min(top + side, height)), slice(max(left, 0), min(left + side, width))
    state = np.full((side, side), UNKNOWN, np.uint8)
    known = np.where(occluder[rows, columns], UNKNOWN, OUTSIDE).astype(np.uint8)
    known[visible[rows, columns]] = VISIBLE
    state[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = known
    principal = (width / 2, height / 2) if intrinsics is None else intrinsics[2:]
    return PixelWindow(state, left, top, principal, intrinsics)


def windows_of_crops(crops: InstanceCrops) -> list[PixelWindow]:
    """The same from crops alone, whose pixels then stand for the image's, the camera looking at their middle."""
    visible, occluder = crops.visible.cpu().numpy() > 0.5, crops.occluder.cpu().numpy() > 0.5
    whole = np.array([0, 0, crops.size, crops.size], np.float32)
    return [pixel_window(v, o, whole) for v, o in zip(visible, occluder, strict=True)]


def pixel_windows(
    visible: Sequence[NDArray[np.bool_]],
    occluder: Sequence[NDArray[np.bool_]],
    windows: NDArray[np.float32],
    intrinsics: Intrinsics | None = None,
) -> list[PixelWindow]:
    """``pixel_window`` of each of N objects; ``windows`` [N,4]."""
    return [pixel_window(v, o, w, intrinsics) for v, o, w in zip(visible, occluder, windows, strict=True)]
