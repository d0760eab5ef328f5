"""Several plausible amodal masks of an object side by side, and how many of them cover each pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.drawing.overlays import BLUE, ORANGE, Image, Mask, crop_around, draw_amodal, outline, tint
from shape3d_amodal.evaluation.metrics import iou
from shape3d_amodal.reports.cases import bounded, enlarge, enlarge_mask, percent
from shape3d_amodal.reports.html import Panel, ReportCase


def sample_case(
    title: str,
    image: Image,
    *,
    visible: Mask,
    samples: Sequence[Mask],
    truth: Mask,
    shown: int = 6,
    margin: float = 0.25,
    side: int = 256,
) -> ReportCase:
    """Panels cropped around the object: image, visible mask, the first samples, the share of all, and the truth.

    Args:
        title: e.g. the category.
        image: [H,W,3] uint8.
        visible: [H,W] bool, given visible mask.
        samples: one or more masks [H,W] bool.
        truth: [H,W] bool, true amodal mask; numbers are IoUs with it, and the case's score is the best of them.
        shown: samples with a panel of their own.
        margin: shown around the object, as a share of its longer side.
        side: of the panels, about; smaller crops are enlarged by a whole factor, larger ones made smaller.
    """
    part = crop_around(np.any([visible, truth, *samples], axis=0), margin)
    factor = max(1, math.ceil(side / max(visible[part].shape)))
    picture, seen = enlarge(image[part], factor), enlarge_mask(visible[part], factor)

    def panel(label: str, drawn: Image, value: str = "") -> Panel:
        return Panel(label=label, image=bounded(drawn, 2 * side), value=value)

    def whole(mask: Mask) -> Image:
        large = enlarge_mask(mask[part], factor)
        return draw_amodal(picture, seen & large, large)

    ious = [iou(sample, truth) for sample in samples]
    share = np.mean([enlarge_mask(sample[part], factor) for sample in samples], axis=0)
    panels = (
        panel("image", picture),
        panel("visible mask", draw_amodal(picture, seen, seen)),
        *(panel(f"sample {i + 1}", whole(samples[i]), percent(ious[i])) for i in range(min(shown, len(samples)))),
        panel("share of all", draw_share(picture, seen, share)),
        panel("ground truth", whole(truth)),
    )
    caption = f"{len(samples)} samples · best IoU {percent(max(ious))} · mean {percent(float(np.mean(ious)))}"
    return ReportCase(title=title, caption=caption, panels=panels, score=max(ious))


def draw_share(image: Image, visible: Mask, share: NDArray[np.float64]) -> Image:
    """The visible part blue; the rest the more orange the larger the ``share`` [H,W] of masks that cover it.

    The line is drawn around what half of them cover.
    """
    opacity = np.where(visible, 0.0, 0.9 * share)[:, :, None]
    drawn = (image * (1 - opacity) + np.array(ORANGE) * opacity + 0.5).astype(np.uint8)
    return outline(tint(drawn, visible, BLUE, 0.5), (share > 0.5) | visible, (255, 255, 255))
