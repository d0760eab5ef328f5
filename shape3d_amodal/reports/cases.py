"""The pictures of one completed object: image, visible mask, predicted masks and ground truth side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from shape3d_amodal.drawing.overlays import Image, Mask, crop_around, draw_amodal
from shape3d_amodal.evaluation.metrics import iou, occluded_iou
from shape3d_amodal.evaluation.tables import format_percent
from shape3d_amodal.reports.html import Panel, ReportCase

COLORS = "Blue is the visible part, orange the hidden part"
"""What the colours of the panels say."""
LEGEND = f"{COLORS}; numbers are IoUs with the true amodal mask, in percent."
"""What the colours and numbers of the panels say."""

_SIDE = 256
"""Enough pixels for thin contours."""


def completion_case(
    title: str,
    image: Image,
    *,
    visible: Mask,
    masks: Mapping[str, Mask],
    focus: str,
    truth: Mask,
    margin: float = 0.25,
    side: int = _SIDE,
) -> ReportCase:
    """Panels cropped around the object, with IoUs in percent; the case's score is the IoU of the mask ``focus``.

    Args:
        title: e.g. the category.
        image: [H,W,3] uint8.
        visible: [H,W] bool, given visible mask.
        masks: [H,W] bool each, predicted masks by label, a panel each.
        focus: the label that the caption is about.
        truth: [H,W] bool, true amodal mask.
        margin: shown around the object, as a share of its longer side.
        side: of the panels, about; smaller crops are enlarged by a whole factor, larger ones made smaller.
    """
    final = masks[focus]
    part = crop_around(truth | final | visible, margin)
    shape = truth[part].shape
    factor = max(1, math.ceil(side / max(shape)))

    def panel(label: str, mask: Mask | None = None, *, value: bool = True) -> Panel:
        picture = enlarge(image[part], factor)
        if mask is not None:
            seen, whole = (enlarge_mask(one[part], factor) for one in (visible & mask, mask))
            picture = draw_amodal(picture, seen, whole)
        number = "" if mask is None or not value else percent(iou(mask, truth))
        return Panel(label=label, image=bounded(picture, 2 * side), value=number)

    panels = (
        panel("image"),
        panel("visible mask", visible),
        *(panel(label, mask) for label, mask in masks.items()),
        panel("ground truth", truth, value=False),
    )
    hidden = (truth & ~visible).sum() / max(int(truth.sum()), 1)
    caption = (
        f"{100 * hidden:.0f} % hidden · IoU {percent(iou(final, truth))} · "
        f"occluded IoU {percent(occluded_iou(final, truth, visible))}"
    )
    return ReportCase(title=title, caption=caption, panels=panels, score=iou(final, truth))


def percent(value: float) -> str:
    """A share in 0..1 as a number in percent."""
    return format_percent(100 * value)


def enlarge(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """``image`` with ``factor`` times as many rows and columns, smoothly."""
    if factor == 1:
        return image
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.asarray(PillowImage.fromarray(image).resize(size, PillowImage.Resampling.BICUBIC))


def enlarge_mask(mask: Mask, factor: int) -> Mask:
    """``mask`` [H,W] bool with ``factor`` x ``factor`` pixels for each."""
    enlarged: Mask = mask.repeat(factor, axis=0).repeat(factor, axis=1)
    return enlarged


def bounded(image: Image, side: int) -> Image:
    """``image``, made smaller where its longer side has more than ``side`` pixels."""
    if max(image.shape[:2]) <= side:
        return image
    picture = PillowImage.fromarray(image)
    picture.thumbnail((side, side), PillowImage.Resampling.LANCZOS)
    return np.asarray(picture)


def gallery(cases: Sequence[ReportCase], side: int = 144, gap: int = 4) -> Image:
    """The panels of several cases as one picture, a row a case, without text.

    Args:
        cases: with the same number of panels each.
        side: of each panel in pixels; panels are scaled to fit and stand on white.
        gap: white pixels between panels.
    """
    rows = []
    edge = ((0, gap), (0, gap), (0, 0))
    for case in cases:
        tiles = [_fitted(panel.image, side) for panel in case.panels]
        rows.append(np.concatenate([np.pad(tile, edge, constant_values=255) for tile in tiles], axis=1))
    return np.concatenate(rows)[:-gap, :-gap]


def _fitted(image: Image, side: int) -> Image:
    picture = PillowImage.fromarray(image)
    picture.thumbnail((side, side), PillowImage.Resampling.LANCZOS)
    tile = PillowImage.new("RGB", (side, side), (255, 255, 255))
    tile.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(tile)
