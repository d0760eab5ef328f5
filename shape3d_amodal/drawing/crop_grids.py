"""What a training shows of itself: a few crops with what the model makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal.structures import InstanceCrops

VISIBLE, HIDDEN, OCCLUDER = (0.0, 0.45, 0.7), (0.9, 0.62, 0.0), (0.8, 0.47, 0.65)
"""Colours of a mask's visible part and of the rest of it, and of what may hide the object."""
_SCALE = 2
_GAP = 4


def crop_grid(crops: InstanceCrops, masks: Mapping[str, Tensor]) -> NDArray[np.uint8]:
    """A row a crop: the picture, its visible and occluder masks, then each of ``masks`` over the picture.

    Args:
        crops: N crops.
        masks: [N,S,S] in 0..1 each; the part inside the visible mask is blue, the rest orange.

    Returns:
        [H,W,3] uint8, on white.
    """
    rgb, visible = crops.rgb.cpu(), crops.visible.cpu()
    given = _tint(_tint(rgb, crops.occluder.cpu(), OCCLUDER), visible, VISIBLE)
    panels = [rgb, given]
    for mask in masks.values():
        shown = mask.detach().float().cpu().clamp(0, 1)
        panels.append(_tint(_tint(rgb, shown.minimum(visible), VISIBLE), (shown - visible).clamp(min=0), HIDDEN))
    columns = torch.stack(panels, dim=1)  # [N,P,3,S,S]
    columns = columns.repeat_interleave(_SCALE, -1).repeat_interleave(_SCALE, -2)
    columns = torch.nn.functional.pad(columns, (0, _GAP, 0, _GAP), value=1.0)
    count, panel, _, height, width = columns.shape
    grid = columns.permute(0, 3, 1, 4, 2).reshape(count * height, panel * width, 3)
    return (grid[:-_GAP, :-_GAP] * 255).round().to(torch.uint8).numpy()


Masks = Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]


def found_grid(rows: Sequence[tuple[NDArray[np.uint8], Masks, Masks]]) -> NDArray[np.uint8]:
    """A row a picture: as it is, with its objects, and with what was found.

    Args:
        rows: pictures [H,W,3] uint8, each with the masks (amodal, visible), [H,W] bool, of its objects and of what was
            found; visible parts are blue, the rest orange.

    Returns:
        [H,W,3] uint8, on white.
    """
    height, width = (max(image.shape[axis] for image, _, _ in rows) for axis in (0, 1))
    grid = np.full((len(rows), height + _GAP, 3, width + _GAP, 3), 255, np.uint8)
    for row, (image, *columns) in enumerate(rows):
        for column, found in enumerate(([], *columns)):
            rgb = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
            for amodal, visible in found:
                rgb = _tint(rgb, torch.from_numpy(visible)[None].float(), VISIBLE)
                rgb = _tint(rgb, torch.from_numpy(amodal & ~visible)[None].float(), HIDDEN)
            shown = (rgb[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
            grid[row, : image.shape[0], column, : image.shape[1]] = shown
    return grid.reshape(len(rows) * (height + _GAP), -1, 3)[:-_GAP, :-_GAP]


def spread_rows(hidden: NDArray[np.float32], count: int = 8) -> NDArray[np.int64]:
    """Up to ``count`` rows whose ``hidden`` shares [N] are spread over those that are over 10 %, most hidden last."""
    rows = np.nonzero(np.asarray(hidden) > 0.1)[0]
    rows = rows[np.argsort(hidden[rows], kind="stable")]
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return rows[places]


def _tint(rgb: Tensor, mask: Tensor, color: tuple[float, float, float], opacity: float = 0.55) -> Tensor:
    """``rgb`` [N,3,S,S] with ``mask`` [N,S,S] blended in."""
    share = opacity * mask[:, None]
    return rgb * (1 - share) + rgb.new_tensor(color)[:, None, None] * share
