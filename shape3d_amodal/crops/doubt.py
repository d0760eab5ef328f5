"""A doubtful band of background beside an object: things that nobody annotated, such as poles, may hide it there.

Who trusts annotations alone takes for background whatever is neither object nor annotated occluder. Next to the visible
part that is not certain. In the band a pixel is background with some certainty, and else may hide the object.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal.config import Share, Weight, configuration
from shape3d_amodal.structures import InstanceCrops


@configuration
class DoubtConfig:
    """The doubtful band: how wide, and how sure its background is."""

    share: Share = 0.0
    """Width of the band, as a share of the longer side of the box around the visible part."""
    px: Weight = 2.0
    """Least width of the band, in pixels of the model's crops."""
    certainty: Share = 0.5
    """How certain it is that the band is background: with 1 it is, as without a band; with 0 it may hide the object as
    any occluder."""


def doubtful(crops: InstanceCrops, config: DoubtConfig | None, scale: float = 1.0) -> InstanceCrops:
    """N crops with the band: 1 - certainty of it is added to ``occluder``, and kept in ``doubt``.

    Args:
        config: the band; None leaves the crops as they are.
        scale: pixels of these crops in one of the model's.
    """
    if config is None:
        return crops
    visible = crops.visible.cpu().numpy() > 0.5
    bands = np.stack([_band(mask, config, scale) for mask in visible]) if len(visible) else visible
    band = torch.from_numpy(bands).to(crops.visible)
    room = band * (1 - crops.visible - crops.occluder).clamp(min=0)
    doubt = (1 - config.certainty) * room
    return replace(crops, occluder=crops.occluder + doubt, doubt=doubt)


def _band(visible: NDArray[np.bool_], config: DoubtConfig, scale: float) -> NDArray[np.bool_]:
    """The pixels [S,S] whose middles are at most as far from that of a visible pixel as the band is wide."""
    from scipy.ndimage import distance_transform_edt

    if not visible.any():
        return np.zeros_like(visible)
    rows, columns = np.nonzero(visible.any(axis=1))[0], np.nonzero(visible.any(axis=0))[0]
    longer = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    width = max(config.share * longer, config.px * scale)
    band: NDArray[np.bool_] = ~visible & (distance_transform_edt(~visible) <= width)
    return band
