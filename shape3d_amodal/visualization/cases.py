"""The pictures of one completed object: image, visible mask, silhouette, final mask and ground truth side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from shape3d_amodal.evaluation.metrics import iou, occluded_iou
from shape3d_amodal.evaluation.tables import format_percent
from shape3d_amodal.visualization.overlays import Image, Mask, crop_around, draw_amodal
from shape3d_amodal.visualization.report import Panel, ReportCase

LEGEND = "Blue is the visible part, orange the hidden part; numbers are IoUs with the true amodal mask, in percent."
"""What the colours and numbers of the panels say."""

_SIDE = 256
"""Pictures that are smaller are enlarged by a whole factor to about this side, so that contours stay thin."""


def completion_case(
    title: str, image: Image, *, visible: Mask, silhouette: Mask, final: Mask, truth: Mask, margin: float = 0.25
) -> ReportCase:
    """Five panels, cropped around the object, with IoUs in percent; the case's score is the final mask's IoU.

    Args:
        title: e.g. the category.
        image: [H,W,3] uint8.
        visible, silhouette, final, truth: [H,W] bool: given visible mask, rendered coarse mask, refined amodal mask,
            true amodal mask.
        margin: shown around the object, as a share of its longer side.
    """
    hidden = (truth & ~visible).sum() / max(int(truth.sum()), 1)
    part = crop_around(truth | final | visible, margin)
    factor = max(1, math.ceil(_SIDE / max(part[0].stop - part[0].start, part[1].stop - part[1].start)))
    picture = _enlarge(image[part], factor)

    def cut(mask: Mask) -> Mask:
        enlarged: Mask = mask[part].repeat(factor, axis=0).repeat(factor, axis=1)
        return enlarged

    seen = cut(visible)
    panels = (
        Panel(label="image", image=picture),
        Panel(label="visible mask", image=draw_amodal(picture, seen, seen), value=_percent(iou(visible, truth))),
        Panel(
            label="silhouette",
            image=draw_amodal(picture, cut(silhouette & visible), cut(silhouette)),
            value=_percent(iou(silhouette, truth)),
        ),
        Panel(label="final mask", image=draw_amodal(picture, seen, cut(final)), value=_percent(iou(final, truth))),
        Panel(label="ground truth", image=draw_amodal(picture, cut(visible & truth), cut(truth))),
    )
    caption = (
        f"{100 * hidden:.0f} % hidden · IoU {_percent(iou(final, truth))} · "
        f"occluded IoU {_percent(occluded_iou(final, truth, visible))}"
    )
    return ReportCase(title=title, caption=caption, panels=panels, score=iou(final, truth))


def _percent(value: float) -> str:
    return format_percent(100 * value)


def _enlarge(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    if factor == 1:
        return image
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.asarray(PillowImage.fromarray(image).resize(size, PillowImage.Resampling.BICUBIC))


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
