"""From an image and its masks to ``InstanceCrops``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal.geometry import windows as geometry
from shape3d_amodal.structures import InstanceCrops

Mask = NDArray[np.bool_]
_SEEN_BEYOND = 2
"""Pixels beyond a window that its samples may touch, being bilinear."""
Border: TypeAlias = Literal["unknown", "background"]
"""What lies beyond the border of an image: it may hide a part of an object, or is background."""


def instance_windows(visible: Sequence[Mask], occluder: Sequence[Mask]) -> NDArray[np.float32]:
    """``geometry.windows.instance_window`` of each instance: [N,4] float32."""
    windows = [geometry.instance_window(v, o) for v, o in zip(visible, occluder, strict=True)]
    return np.array(windows, np.float32).reshape(-1, 4)


def instance_crops(
    image: NDArray[np.uint8],
    visible: Sequence[Mask],
    occluder: Sequence[Mask],
    category: Sequence[int],
    size: int,
    windows: NDArray[np.float32] | None = None,
    *,
    border: Border = "unknown",
) -> InstanceCrops:
    """Cut out instances of one image.

    Args:
        image: [H,W,3] uint8.
        visible: N masks [H,W] bool, none empty.
        occluder: N masks [H,W] bool.
        category: N indices into the model's category names.
        size: side of the crops in pixels.
        windows: [N,4] float32, or None for ``instance_windows``.
        border: what lies beyond the image.
    """
    if windows is None:
        windows = instance_windows(visible, occluder)
    window = torch.from_numpy(np.asarray(windows, np.float32))
    height, width = image.shape[:2]
    planes = torch.ones(6, height, width)  # the last one tells a crop what lies beyond the image
    torch.div(torch.from_numpy(image).permute(2, 0, 1), 255, out=planes[:3])
    masks = planes[3:5].zero_()
    cut = []
    for i, (v, o) in enumerate(zip(visible, occluder, strict=True)):
        place = geometry.place_of(window[i], height, width, margin=_SEEN_BEYOND)
        near = masks[(slice(None), *place)]
        near.copy_(torch.from_numpy(np.stack([v[place], o[place]])))
        cut.append(geometry.cut(planes, window[i : i + 1], size))
        near.zero_()
    crops = torch.cat([planes.new_zeros(0, 6, size, size), *cut])
    beyond = 1 - crops[:, 5] if border == "unknown" else torch.zeros_like(crops[:, 5])
    return InstanceCrops(
        rgb=crops[:, :3].clamp(0, 1),
        visible=crops[:, 3].clamp(0, 1),
        occluder=(crops[:, 4] + beyond).clamp(0, 1),
        category=torch.as_tensor(category, dtype=torch.int64),
        window=window,
    )


def masks_through(crops: InstanceCrops, windows: Tensor, masks: Sequence[tuple[Mask, Mask]]) -> InstanceCrops:
    """The same instances through other windows [N,4]: masks cut anew where a window is another one, without colours
    and doubt.

    Args:
        masks: visible part and occluders of each instance, [H,W] bool.
    """
    visible, occluder, rgb = crops.visible.clone(), crops.occluder.clone(), crops.rgb.clone()
    doubt = None if crops.doubt is None else crops.doubt.clone()
    for i in (windows != crops.window).any(dim=1).nonzero()[:, 0].tolist():
        both = np.stack([masks[i][0], masks[i][1], np.ones_like(masks[i][0])])
        cut = geometry.cut(torch.from_numpy(both).float(), windows[i : i + 1].cpu(), crops.size)[0].to(crops.rgb.device)
        visible[i], occluder[i], rgb[i] = cut[0].clamp(0, 1), (cut[1] + 1 - cut[2]).clamp(0, 1), 0
        if doubt is not None:
            doubt[i] = 0
    return replace(crops, visible=visible, occluder=occluder, rgb=rgb, window=windows, doubt=doubt)


def mask_crops(masks: Sequence[Mask], windows: Tensor, size: int) -> Tensor:
    """Cut one mask [H,W] out of each window: [N,S,S] float32, the share of each crop pixel that is covered."""
    cut = [
        geometry.cut(torch.from_numpy(mask)[None].float(), windows[i : i + 1], size)[:, 0]
        for i, mask in enumerate(masks)
    ]
    return torch.cat([torch.zeros(0, size, size), *cut]).clamp(0, 1)
