"""Regions of a crop: what is known, what is not, and where the edges lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.errors import check_whole

if TYPE_CHECKING:
    from torch import Tensor

    from shape3d_amodal.structures import InstanceCrops

MAX_GAP_PX = 1000
"""Widest gap between masks, in image pixels, that can be closed."""


def compose(probability: Tensor, visible: Tensor, occluder: Tensor) -> Tensor:
    """The amodal probability: the visible mask exactly, the estimate where something may hide the object, else nothing.

    Args:
        probability, visible, occluder: [N,S,S] in 0..1; masks hold the share of each pixel that they cover.

    Returns:
        [N,S,S] in 0..1.
    """
    hidden = occluder.minimum(1 - visible)
    return visible + hidden * probability


def composed(probability: Tensor, crops: InstanceCrops) -> Tensor:
    """``compose`` for N crops. In doubtful background (``crops.doubt``) the estimate must outweigh the doubt.

    There background is said with certainty c, and ``doubt`` d is 1 - c. By Bayes' rule, if what hides the object is
    taken for background with probability d, and background always for background, an estimate p becomes
    p d / (p d + 1 - p).
    """
    if crops.doubt is None:
        return compose(probability, crops.visible, crops.occluder)
    sure = crops.occluder - crops.doubt
    whole = compose(probability, crops.visible, sure)
    weighed = probability * crops.doubt
    posterior = weighed / (weighed + 1 - probability).clamp(min=1e-6)
    return whole + (1 - crops.visible - sure).clamp(min=0) * posterior


def edge_band(mask: Tensor, width: int) -> Tensor:
    """Pixels within about ``width`` pixels of a mask's edge: morphological gradient of [N,S,S], as [N,S,S] in 0..1."""
    import torch
    from kornia.morphology import dilation, erosion

    kernel = torch.ones(2 * width + 1, 2 * width + 1, device=mask.device, dtype=mask.dtype)
    image = mask[:, None]
    return (dilation(image, kernel) - erosion(image, kernel))[:, 0]


def check_gap(width: object) -> None:
    """Refuse what is no width of a gap.

    Raises:
        UsageError: it is no whole number from 0 to ``MAX_GAP_PX``.
    """
    check_whole("gap_px", width, "number of pixels", most=MAX_GAP_PX)


def close_gaps(visible: NDArray[np.bool_], occluder: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The occluder mask [H,W] grown by ``width`` pixels towards the visible mask, as predicted masks leave gaps.

    Only background pixels that lie near both masks are added; with exact masks ``width`` is 0 and nothing changes.
    Near are pixels at most ``width`` steps of 8 directions away; the time does not depend on ``width``.
    """
    if width == 0 or not (visible.any() and occluder.any()):
        return occluder.copy()
    closed: NDArray[np.bool_] = occluder | (~visible & _near(visible, width) & _near(occluder, width))
    return closed


def _near(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels [H,W] at most ``width`` steps of 8 directions away from ``mask``, which is not empty."""
    from scipy.ndimage import distance_transform_cdt

    near: NDArray[np.bool_] = distance_transform_cdt(~mask, metric="chessboard") <= width
    return near
