"""Regions of a crop: what is known, what is not, and where the edges lie."""

from __future__ import annotations

import torch
from kornia.morphology import dilation, erosion
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


def close_gaps(visible: Tensor, occluder: Tensor, width: int) -> Tensor:
    """The occluder mask grown by ``width`` pixels towards the visible mask: predicted masks leave gaps between them.

    Only background pixels that lie near both masks are added; with exact masks ``width`` is 0 and nothing changes.
    """
    if width == 0:
        return occluder
    kernel = torch.ones(2 * width + 1, 2 * width + 1, device=visible.device, dtype=visible.dtype)
    near_both = dilation(visible[:, None], kernel)[:, 0].minimum(dilation(occluder[:, None], kernel)[:, 0])
    return occluder.maximum(near_both.minimum(1 - visible))
