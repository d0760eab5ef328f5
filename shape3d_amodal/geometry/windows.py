"""Square windows around instances: where to look, cutting out, and pasting back."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Place: TypeAlias = tuple[slice, slice]
"""Rows and columns of an image."""
REACH = 0.8
"""A window goes at most this share of the visible box's longer side beyond the visible box, on each side."""
MARGIN = 0.08
"""Background kept around the region that the object may fill, as a share of the window's side."""
_SAMPLES = 2
"""Samples, at least, along each side of a crop pixel; their mean is the pixel's value."""
_APART = 2.6
"""Samples lie at most this many image pixels apart; being bilinear, each is itself a mean over about two."""


def instance_window(visible: NDArray[np.bool_], occluder: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The square that holds all pixels that may belong to an instance.

    An object cannot continue behind known background, and masks are predicted inside the image only. So its hidden
    part lies in occluders that are connected with the visible part; the window grows from the visible box only
    there, and by at most ``REACH``.

    Args:
        visible: [H,W] bool, not empty.
        occluder: [H,W] bool, pixels that may hide the instance.

    Returns:
        [4] float32: x0, y0, x1, y1 in image pixels; being square it may reach beyond the image.
    """
    from scipy import ndimage

    rows, columns = np.nonzero(visible.any(axis=1))[0], np.nonzero(visible.any(axis=0))[0]
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    reach = round(REACH * max(y1 - y0, x1 - x0))
    top, left = max(y0 - reach, 0), max(x0 - reach, 0)
    near = np.s_[top : y1 + reach, left : x1 + reach]
    labels, count = ndimage.label(visible[near] | occluder[near], structure=np.ones((3, 3)))
    touched = np.zeros(count + 1, bool)
    touched[labels[visible[near]]] = True
    connected = touched[labels]
    rows, columns = np.nonzero(connected.any(axis=1))[0], np.nonzero(connected.any(axis=0))[0]
    low = np.array([left + columns[0], top + rows[0]], np.float64)
    high = np.array([left + columns[-1] + 1, top + rows[-1] + 1], np.float64)
    side = max(*(high - low), 4.0) / (1 - 2 * MARGIN)
    corner = (low + high - side) / 2
    return np.concatenate([corner, corner + side]).astype(np.float32)


def cut(image: Tensor, windows: Tensor, size: int) -> Tensor:
    """Resample windows of an image to square crops, averaging over each crop pixel; zero beyond the image.

    Args:
        image: [C,H,W] float.
        windows: [N,4] float, (x0, y0, x1, y1) in image pixels, square.
        size: side S of the crops in pixels.

    Returns:
        [N,C,S,S] of the image's dtype.
    """
    from kornia.geometry.transform import warp_affine

    sides = windows[:, 2] - windows[:, 0]
    samples = max(_SAMPLES, math.ceil(float(sides.max()) / (size * _APART)))
    fine = size * samples
    scale = fine / sides
    # kornia counts pixel centres as integers: centre i lies at i + 0.5 of our pixel frame.
    matrix = image.new_zeros(len(windows), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    matrix[:, :, 2] = (0.5 - windows[:, :2]) * scale[:, None] - 0.5
    crops = warp_affine(image.expand(len(windows), -1, -1, -1), matrix, (fine, fine), align_corners=True)
    return torch.nn.functional.avg_pool2d(crops, samples)


def through(crops: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """Crops [N,C,S,S] of the windows ``old`` [N,4] through the windows ``new`` [N,4]: zero beyond the old ones.

    Those of equal windows are as they were.
    """
    size, result = crops.shape[-1], crops.clone()
    for i in (old != new).any(dim=1).nonzero()[:, 0].tolist():
        corner = old[i, :2].repeat(2)
        scale = size / (old[i, 2] - old[i, 0])
        result[i] = cut(crops[i], (new[i : i + 1] - corner) * scale, size)[0]
    return result


def inside_image(windows: Tensor, width: int | Tensor, height: int | Tensor, size: int) -> Tensor:
    """Share of each crop pixel that lies inside the image, [N,S,S] float32 in 0..1.

    Args:
        windows: [N,4] float, (x0, y0, x1, y1) in image pixels.
        width, height: size of the image in pixels, or [N] of the image of each window.
        size: side S of the crops in pixels.
    """
    steps = torch.arange(size + 1, device=windows.device) / size

    def covered(low: Tensor, high: Tensor, limit: int | Tensor) -> Tensor:
        edges = low[:, None] + (high - low)[:, None] * steps
        most = torch.as_tensor(limit, dtype=edges.dtype, device=edges.device).reshape(-1, 1)
        return edges.clamp(min=0).minimum(most).diff(dim=1) / edges.diff(dim=1).clamp(min=1e-6)

    x0, y0, x1, y1 = windows.unbind(dim=1)
    return covered(y0, y1, height)[:, :, None] * covered(x0, x1, width)[:, None, :]


def place_of(window: Tensor, height: int, width: int, margin: int = 0) -> Place:
    """The rows and columns of an image that a window [4] touches, and ``margin`` pixels around; perhaps none."""
    x0, y0, x1, _ = (float(value) for value in window)
    left, top = max(math.floor(x0) - margin, 0), max(math.floor(y0) - margin, 0)
    right, bottom = min(math.ceil(x1) + margin, width), min(math.ceil(y0 + x1 - x0) + margin, height)
    return slice(top, max(bottom, top)), slice(left, max(right, left))


def patches(crops: Tensor, window: Tensor, place: Place) -> Tensor:
    """Resample crops of one window back to the image pixels that it touches, bilinear.

    Args:
        crops: [C,S,S] float.
        window: [4] float, the window that they were cut from.
        place: as ``place_of`` gives it: h rows and w columns.

    Returns:
        [C,h,w] float.
    """
    from kornia.geometry.transform import warp_affine

    rows, columns = place
    shape = rows.stop - rows.start, columns.stop - columns.start
    if 0 in shape:
        return crops.new_zeros(len(crops), *shape)
    x0, y0, x1, _ = (float(value) for value in window)
    scale = (x1 - x0) / crops.shape[-1]
    # Only the window's own pixels are resampled; their frame starts at the place's corner.
    matrix = torch.tensor(
        [[scale, 0, 0.5 * scale + x0 - columns.start - 0.5], [0, scale, 0.5 * scale + y0 - rows.start - 0.5]],
        dtype=crops.dtype,
        device=crops.device,
    )
    found: Tensor = warp_affine(crops[None], matrix[None], shape, padding_mode="border")[0]
    return found


def paste(crop: Tensor, window: Tensor, height: int, width: int) -> Tensor:
    """Resample one crop back to image pixels: [S,S] float to [H,W] float, bilinear, zero outside its window.

    Args:
        crop: [S,S] float.
        window: [4] float, the window that it was cut from.
        height, width: size of the image in pixels.
    """
    place = place_of(window, height, width)
    result = crop.new_zeros(height, width)
    result[place] = patches(crop[None], window, place)[0]
    return result
