"""What is known of an object at the image's own resolution: inside, outside or unknown, pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

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
        image: [H,W] uint8, the same of the whole image; None where only the window is known.
    """

    state: NDArray[np.uint8]
    left: int
    top: int
    principal: tuple[float, float]
    intrinsics: Intrinsics | None = None
    image: NDArray[np.uint8] | None = None

    @property
    def side(self) -> int:
        return len(self.state)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 in image pixels."""
        return self.left, self.top, self.left + self.side, self.top + self.side

    @property
    def masks(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The visible part and what may hide the object, of the whole image where it is known, else of the window."""
        known = self.state if self.image is None else self.image
        return known == VISIBLE, known == UNKNOWN

    @property
    def inside(self) -> NDArray[np.bool_]:
        """[G,G], which pixels lie in the image; all where only the window is known."""
        result = np.ones(self.state.shape, bool)
        if self.image is not None:
            height, width = self.image.shape
            rows, columns = np.arange(self.top, self.top + self.side), np.arange(self.left, self.left + self.side)
            result = ((rows >= 0) & (rows < height))[:, None] & (columns >= 0) & (columns < width)
        return result

    @property
    def aspect(self) -> float:
        """fx / fy; 1 where the camera is not known."""
        return 1.0 if self.intrinsics is None else self.intrinsics[0] / self.intrinsics[1]

    def moved(self, left: int, top: int, side: int) -> PixelWindow:
        """Another square window of the same object. Where the image is not known, things go on as at the old one's
        border, but nothing is visible there."""
        if self.image is None:
            state = _padded(self.state, left - self.left, top - self.top, side)
        else:
            state = _cut(self.image, left, top, side)
        return replace(self, state=state, left=left, top=top)

    def holding(self, boxes: NDArray[np.floating[Any]]) -> PixelWindow:
        """The smallest square window that holds this one and, as far as the image is known, boxes [K,4] (x0, y0, x1,
        y1 in image pixels): this one itself where that is enough."""
        if self.image is None or not len(boxes):
            return self
        height, width = self.image.shape
        own = np.array(self.box)
        inside = np.clip(boxes, 0, [width, height, width, height])
        low = np.minimum(own[:2], np.floor(inside[:, :2]).min(axis=0)).astype(int)
        high = np.maximum(own[2:], np.ceil(inside[:, 2:]).max(axis=0)).astype(int)
        if (low == own[:2]).all() and (high == own[2:]).all():
            return self
        side = int((high - low).max())
        left, top = ((low + high - side) // 2).tolist()
        return self.moved(left, top, side)


def _cut(image: NDArray[np.uint8], left: int, top: int, side: int) -> NDArray[np.uint8]:
    """A square of an image's states; what lies beyond the image is unknown."""
    height, width = image.shape
    rows, columns = slice(max(top, 0), min(top + side, height)), slice(max(left, 0), min(left + side, width))
    state = np.full((side, side), UNKNOWN, np.uint8)
    state[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = image[rows, columns]
    return state


def _padded(state: NDArray[np.uint8], left: int, top: int, side: int) -> NDArray[np.uint8]:
    """A square that begins at (left, top) of ``state`` and may reach beyond it."""
    rows, columns = np.arange(top, top + side), np.arange(left, left + side)
    last = len(state) - 1
    result = state[np.clip(rows, 0, last)[:, None], np.clip(columns, 0, last)]
    beyond = ((rows < 0) | (rows > last))[:, None] | (columns < 0) | (columns > last)
    result[beyond & (result == VISIBLE)] = UNKNOWN
    return result


def pixel_window(
    visible: NDArray[np.bool_],
    occluder: NDArray[np.bool_],
    window: NDArray[np.float32],
    intrinsics: Intrinsics | None = None,
) -> PixelWindow:
    """The whole pixels of ``window`` [4] (x0, y0, x1, y1) of an image's masks [H,W] bool."""
    left, top = math.floor(window[0]), math.floor(window[1])
    side = max(math.ceil(window[2]) - left, math.ceil(window[3]) - top, 1)
    image = np.where(occluder, UNKNOWN, OUTSIDE).astype(np.uint8)
    image[visible] = VISIBLE
    height, width = visible.shape
    principal = (width / 2, height / 2) if intrinsics is None else intrinsics[2:]
    return PixelWindow(_cut(image, left, top, side), left, top, principal, intrinsics, image)


def windows_of_crops(crops: InstanceCrops) -> list[PixelWindow]:
    """The same from crops alone, whose pixels then stand for the image's, the camera looking at their middle.

    Nothing is known beyond them.
    """
    visible, occluder = crops.visible.cpu().numpy() > 0.5, crops.occluder.cpu().numpy() > 0.5
    whole = np.array([0, 0, crops.size, crops.size], np.float32)
    return [replace(pixel_window(v, o, whole), image=None) for v, o in zip(visible, occluder, strict=True)]


def pixel_windows(
    visible: Sequence[NDArray[np.bool_]],
    occluder: Sequence[NDArray[np.bool_]],
    windows: NDArray[np.float32],
    intrinsics: Intrinsics | None = None,
) -> list[PixelWindow]:
    """``pixel_window`` of each of N objects; ``windows`` [N,4]."""
    return [pixel_window(v, o, w, intrinsics) for v, o, w in zip(visible, occluder, windows, strict=True)]
