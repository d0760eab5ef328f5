"""Regions of a crop: what is known, what is not, and where the edges lie."""

from __future__ import annotations

import numpy as np
import torch
from kornia.morphology import dilation, erosion
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from torch import Tensor


def compose(probability: Tensor, visible: Tensor, occluder: Tensor) -> Tensor:
    """The amodal probability: the visible mask exactly, the estimate where something may hide the object, else nothing.

    Args:
        probability, visible, occluder: [N,S,S] in 0..1; masks hold the share of each pixel that they cover.

    Returns:
        [N,S,S] in 0..1.
    """
    hidden = occluder.minimum(1 - visible)
    return visible + hidden * probability


def edge_band(mask: Tensor, width: int) -> Tensor:
    """Pixels within about ``width`` pixels of a mask's edge: morphological gradient of [N,S,S], as [N,S,S] in 0..1."""
    kernel = torch.ones(2 * width + 1, 2 * width + 1, device=mask.device, dtype=mask.dtype)
    image = mask[:, None]
    return (dilation(image, kernel) - erosion(image, kernel))[:, 0]


def close_gaps(visible: NDArray[np.bool_], occluder: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The occluder mask [H,W] grown by ``width`` pixels towards the visible mask, as predicted masks leave gaps.

    Only background pixels that lie near both masks are added; with exact masks ``width`` is 0 and nothing changes.
    """
    square = np.ones((2 * width + 1, 2 * width + 1), bool)
    closed: NDArray[np.bool_] = occluder | (binary_dilation(visible, square) & binary_dilation(occluder, square))
    return np.where(visible, occluder, closed)
