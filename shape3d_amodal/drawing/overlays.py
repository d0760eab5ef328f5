"""Masks and contours drawn over an image. All images are RGB, [H,W,3] uint8; nothing is changed in place.

Images and masks of other forms (``crops.given``), such as floats from 0 to 1, are converted, or refused by UsageError.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.crops.given import binary, given_image
from shape3d_amodal.drawing.colors import BLUE, ORANGE, WHITE, Color, distinct_colors

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def tint(image: Image, mask: Mask, color: Color, opacity: float = 0.5) -> Image:
    """Blend ``color`` into the pixels of ``mask`` [H,W] bool; opacity 0 leaves them, 1 paints them over."""
    image, mask = given_image(image), binary(np.asarray(mask), name="mask")
    result = image.copy()
    blended = image[mask] * (1 - opacity) + np.array(color) * opacity
    result[mask] = (blended + 0.5).astype(np.uint8)
    return result


def contour(mask: Mask, thickness: int = 1) -> Mask:
    """The pixels [H,W] bool of ``mask`` that are less than ``thickness`` steps (of 4 directions) from its outside."""
    from scipy import ndimage

    mask = binary(np.asarray(mask), name="mask")
    edge = np.zeros_like(mask)
    part = _box(mask)  # outside of it is nothing, and images may be large
    edge[part] = mask[part] & ~ndimage.binary_erosion(mask[part], iterations=thickness)
    return edge


def outline(image: Image, mask: Mask, color: Color, thickness: int = 1) -> Image:
    """Paint the contour of ``mask`` [H,W] bool, inside the mask."""
    return tint(image, contour(mask, thickness), color, 1.0)


def draw_mask(image: Image, mask: Mask, color: Color) -> Image:
    """A tinted mask with its contour."""
    return outline(tint(image, mask, color, 0.45), mask, color)


def draw_instances(image: Image, masks: Sequence[Mask]) -> Image:
    """Masks [H,W] bool, each in a colour of its own, later ones over earlier ones."""
    for mask, color in zip(masks, distinct_colors(len(masks)), strict=True):
        image = draw_mask(image, mask, color)
    return image


def draw_amodal(image: Image, visible: Mask, amodal: Mask) -> Image:
    """One object: its visible part blue, its hidden part orange, the whole outlined in white."""
    image = tint(image, visible, BLUE, 0.5)
    visible, amodal = binary(np.asarray(visible), name="visible"), binary(np.asarray(amodal), name="amodal")
    image = tint(image, amodal & ~visible, ORANGE, 0.65)
    return outline(image, amodal | visible, WHITE)


def image_grid(rows: Sequence[Sequence[Image]], gap: int) -> Image:
    """Images of any sizes in rows and columns, ``gap`` pixels apart, each at the upper left of its place on white.

    Args:
        rows: one or more rows with equally many images each.
        gap: 1 or more.
    """
    rows = [[given_image(image) for image in row] for row in rows]
    height = gap + max(image.shape[0] for row in rows for image in row)
    width = gap + max(image.shape[1] for row in rows for image in row)
    grid = np.full((len(rows), height, len(rows[0]), width, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        for column, image in enumerate(row):
            grid[number, : image.shape[0], column, : image.shape[1]] = image
    return grid.reshape(len(rows) * height, -1, 3)[:-gap, :-gap]


def crop_around(mask: Mask, margin: float = 0.15, minimum: int = 32) -> tuple[slice, slice]:
    """The square part of an image around ``mask`` [H,W] bool, as row and column slices; cut off at the image's border.

    Args:
        margin: added on each side, as a share of the mask's longer side.
        minimum: smallest side in pixels. An empty mask gives the whole image.
    """
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if not len(rows):
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    side = max(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
    side = max(minimum, round(side * (1 + 2 * margin)))
    return _centred(rows, side, mask.shape[0]), _centred(columns, side, mask.shape[1])


def _box(mask: Mask) -> tuple[slice, slice]:
    """The part of an image that ``mask`` [H,W] bool lies in, which is empty where the mask is."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _centred(places: NDArray[np.int64], side: int, limit: int) -> slice:
    """``side`` places around the middle of ``places``, moved into 0..limit, or all where the limit is smaller."""
    start = int(places[0] + places[-1] + 1 - side) // 2
    start = max(0, min(start, limit - side))
    return slice(start, min(start + side, limit))
