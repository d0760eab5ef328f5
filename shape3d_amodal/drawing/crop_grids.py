"""Image grids of validation crops with predicted masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal.drawing.colors import BLUE, ORANGE, PURPLE, Color
from shape3d_amodal.drawing.overlays import Image, Mask, image_grid, tint
from shape3d_amodal.drawing.text import title_row
from shape3d_amodal.structures import InstanceCrops

_OPACITY = 0.55
_SCALE = 2
_MASK_SCALE = 3
_GAP = 4
_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the brightness (ITU-R BT.601)."""


def crop_grid(
    crops: InstanceCrops, masks: Mapping[str, Tensor], *, given: tuple[str, str] = ("image", "visible, occluders")
) -> Image:
    """A row a crop: its image, its visible and occluder masks, then each of ``masks`` over the image; titles above.

    Images are grey under masks: over a red object blue would not look blue.

    Args:
        crops: N crops.
        masks: [N,S,S] in 0..1 each, by their title; the part inside the visible mask is blue, the rest orange
            (occluders are purple).
        given: titles of the first two columns.

    Returns:
        [H,W,3] uint8, on white.
    """
    rgb, visible = crops.rgb.cpu(), crops.visible.cpu()
    grey = (rgb * rgb.new_tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True).expand_as(rgb)
    panels = [rgb, _tint(_tint(grey, crops.occluder.cpu(), PURPLE), visible, BLUE)]
    for mask in masks.values():
        shown = mask.detach().float().cpu().clamp(0, 1)
        panels.append(_tint(_tint(grey, shown.minimum(visible), BLUE), (shown - visible).clamp(min=0), ORANGE))
    pixels = (torch.stack(panels, dim=1) * 255).round().to(torch.uint8)  # [N,P,3,S,S]
    large = pixels.permute(0, 1, 3, 4, 2).numpy().repeat(_SCALE, axis=2).repeat(_SCALE, axis=3)
    return _titled((*given, *masks), image_grid([list(row) for row in large], _GAP))


def mask_grid(masks: Mapping[str, Tensor]) -> Image:
    """A row a mask, a column a kind of mask; titles above.

    Args:
        masks: [N,S,S] in 0..1 each, by their title; white is 1.

    Returns:
        [H,W,3] uint8, on white.
    """
    shown = torch.stack([one.detach().float().cpu().clamp(0, 1) for one in masks.values()], dim=1)  # [N,K,S,S]
    pixels = (shown * 255).round().to(torch.uint8).numpy()
    large = pixels[..., None].repeat(_MASK_SCALE, axis=2).repeat(_MASK_SCALE, axis=3).repeat(3, axis=4)
    return _titled(tuple(masks), image_grid([list(row) for row in large], _GAP))


Masks = Sequence[tuple[Mask, Mask]]
"""Masks of several objects, [H,W] bool: amodal and visible."""


def found_grid(rows: Sequence[tuple[Image, Masks, Masks]]) -> Image:
    """A row an image: as it is, then in grey with its objects, and with what was found; titles above.

    Args:
        rows: images [H,W,3] uint8, each with the masks of its objects and of what was found; visible parts are blue,
            the rest orange.

    Returns:
        [H,W,3] uint8, on white.
    """
    grid = [[image, _with_masks(image, truth), _with_masks(image, found)] for image, truth, found in rows]
    return _titled(("image", "truth", "found"), image_grid(grid, _GAP))


def _titled(titles: Sequence[str], grid: Image) -> Image:
    """``grid`` below the titles of its columns."""
    width = (grid.shape[1] + _GAP) // len(titles) - _GAP
    return np.concatenate([title_row(titles, width, _GAP), grid])


def _with_masks(image: Image, masks: Masks) -> Image:
    image = (image @ np.array(_LUMA)).round().astype(np.uint8)[..., None].repeat(3, axis=-1)
    for amodal, visible in masks:
        image = tint(tint(image, visible, BLUE, _OPACITY), amodal & ~visible, ORANGE, _OPACITY)
    return image


def spread_rows(hidden: NDArray[np.float32], count: int = 8) -> NDArray[np.int64]:
    """Up to ``count`` rows whose ``hidden`` shares [N] are spread over those that are over 10 %, most hidden last."""
    rows = np.nonzero(np.asarray(hidden) > 0.1)[0]
    rows = rows[np.argsort(hidden[rows], kind="stable")]
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return rows[places]


def _tint(rgb: Tensor, mask: Tensor, color: Color) -> Tensor:
    """``rgb`` [N,3,S,S] in 0..1 with ``mask`` [N,S,S] in 0..1 blended in."""
    share = _OPACITY * mask[:, None]
    return rgb * (1 - share) + rgb.new_tensor(color)[:, None, None] / 255 * share
