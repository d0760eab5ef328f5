"""One completed object as panels side by side: image, visible mask, predicted masks, ground truth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps

from shape3d_amodal.drawing.colors import BLUE, ORANGE, WHITE
from shape3d_amodal.drawing.overlays import Image, Mask, crop_around, draw_amodal, image_grid, outline, tint
from shape3d_amodal.drawing.text import title_row
from shape3d_amodal.evaluation.metrics import iou, occluded_iou
from shape3d_amodal.evaluation.tables import format_percent
from shape3d_amodal.reports.html import EncodedImage, Key, Panel, ReportCase

COLORS = "Blue is the visible part, orange the hidden part"
KEYS = (Key(label="visible part", color=BLUE), Key(label="hidden part", color=ORANGE))
LEGEND = "Numbers below the images are IoUs with the true amodal mask, in percent."

_SIDE = 256
"""Enough pixels for thin contours."""
_MARGIN = 0.25
"""Shown around an object, as a share of its longer side."""


class Closeup:
    """An object and what is around it, enlarged by a whole factor to about ``side`` pixels.

    The crop contains the ``others``, masks [H,W] bool, too. Larger crops are made smaller in ``panel`` alone.
    """

    def __init__(self, image: Image, visible: Mask, others: Sequence[Mask], side: int) -> None:
        self.part = crop_around(np.any([visible, *others], axis=0), _MARGIN)
        self.side = side
        height, width = visible[self.part].shape
        self.factor = max(1, math.ceil(side / max(height, width)))
        pixels = PillowImage.fromarray(image[self.part])
        large = (width * self.factor, height * self.factor)
        self.image = np.asarray(pixels.resize(large, PillowImage.Resampling.BICUBIC))
        self.visible = self.enlarged(visible)

    def enlarged(self, mask: Mask) -> Mask:
        """The part of ``mask`` [H,W] bool in the crop, with ``factor`` x ``factor`` pixels for each."""
        return np.asarray(mask[self.part].repeat(self.factor, axis=0).repeat(self.factor, axis=1))

    def drawn(self, mask: Mask) -> Image:
        """The crop with a whole mask [H,W] bool, its visible part blue and its hidden part orange."""
        whole = self.enlarged(mask)
        return draw_amodal(self.image, self.visible & whole, whole)

    def window(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """The square (x0, y0, x1, y1) [4] in pixels of the image, in those of the enlarged crop."""
        left, top = self.part[1].start, self.part[0].start
        return ((window - np.array([left, top, left, top])) * self.factor).astype(np.float32)

    def panel(self, label: str, image: Image, value: str = "") -> Panel:
        return Panel(label=label, image=bounded(image, 2 * self.side), value=value)


def completion_case(
    title: str, image: Image, *, visible: Mask, masks: Mapping[str, Mask], focus: str, truth: Mask, side: int = _SIDE
) -> ReportCase:
    """Panels cropped around the object, with IoUs in percent; the case's score is the IoU of the mask ``focus``.

    Args:
        title: e.g. the category.
        image: [H,W,3] uint8.
        visible: [H,W] bool, given visible mask.
        masks: [H,W] bool each, predicted masks by label, a panel each.
        focus: the label that the caption is about.
        truth: [H,W] bool, true amodal mask.
        side: of the panels, about; smaller crops are enlarged by a whole factor, larger ones made smaller.
    """
    final = masks[focus]
    near = Closeup(image, visible, [truth, final], side)
    drawn = [("visible mask", visible), *masks.items()]
    panels = (
        near.panel("image", near.image),
        *(near.panel(name, near.drawn(one), _iou(one, truth)) for name, one in drawn),
        near.panel("ground truth", near.drawn(truth)),
    )
    hidden = (truth & ~visible).sum() / max(int(truth.sum()), 1)
    occluded = format_percent(100 * occluded_iou(final, truth, visible))
    caption = f"{100 * hidden:.0f} % hidden · IoU {_iou(final, truth)} · occluded IoU {occluded}"
    return ReportCase(title=title, caption=caption, panels=panels, score=iou(final, truth))


def sample_case(
    title: str, image: Image, *, visible: Mask, samples: Sequence[Mask], truth: Mask, shown: int = 6
) -> ReportCase:
    """Several plausible masks of an object, and how many of them cover each pixel, cropped around the object.

    Args:
        title, image, visible, truth: as for ``completion_case``; the case's score is the best IoU with ``truth``.
        samples: one or more masks [H,W] bool.
        shown: samples with a panel of their own.
    """
    near = Closeup(image, visible, [truth, *samples], _SIDE)
    ious = [iou(sample, truth) for sample in samples]
    share = np.mean([near.enlarged(sample) for sample in samples], axis=0)
    panels = (
        near.panel("image", near.image),
        near.panel("visible mask", near.drawn(visible)),
        *(near.panel(f"sample {i}", near.drawn(one), _iou(one, truth)) for i, one in enumerate(samples[:shown], 1)),
        near.panel("share of all", draw_share(near.image, near.visible, share)),
        near.panel("ground truth", near.drawn(truth)),
    )
    best, mean = format_percent(100 * max(ious)), format_percent(100 * float(np.mean(ious)))
    caption = f"{len(samples)} samples · best IoU {best} · mean {mean}"
    return ReportCase(title=title, caption=caption, panels=panels, score=max(ious))


def draw_share(image: Image, visible: Mask, share: NDArray[np.float64]) -> Image:
    """The visible part blue; the rest the more orange the larger the ``share`` [H,W] of masks that cover it.

    The line is drawn around what half of them cover.
    """
    opacity = np.where(visible, 0.0, 0.9 * share)[:, :, None]
    drawn = (image * (1 - opacity) + np.array(ORANGE) * opacity + 0.5).astype(np.uint8)
    return outline(tint(drawn, visible, BLUE, 0.5), (share > 0.5) | visible, WHITE)


def bounded(image: Image, side: int) -> Image:
    """``image``, made smaller where its longer side has more than ``side`` pixels."""
    if max(image.shape[:2]) <= side:
        return image
    smaller = PillowImage.fromarray(image)
    smaller.thumbnail((side, side), PillowImage.Resampling.LANCZOS)
    return np.asarray(smaller)


def gallery(cases: Sequence[ReportCase], side: int = 144, gap: int = 4, *, titles: bool = False) -> Image:
    """The panels of several cases as one image [H,W,3] uint8, a row a case.

    Args:
        cases: with the same number of panels each.
        side: of each panel in pixels; panels are scaled to fit and stand on white.
        gap: white pixels between panels.
        titles: with the labels of the first case's panels above the columns.
    """

    def fitted(image: Image | EncodedImage) -> Image:
        assert not isinstance(image, EncodedImage), "cases that are drawn have not been stored"
        whole = PillowImage.fromarray(image)
        return np.asarray(ImageOps.pad(whole, (side, side), PillowImage.Resampling.LANCZOS, color="white"))

    grid = image_grid([[fitted(panel.image) for panel in case.panels] for case in cases], gap)
    if not titles:
        return grid
    return np.concatenate([title_row([panel.label for panel in cases[0].panels], side, gap), grid])


def _iou(mask: Mask, truth: Mask) -> str:
    return format_percent(100 * iou(mask, truth))
