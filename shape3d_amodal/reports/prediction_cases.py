"""Images with what was found in them: an overview with a number on each object, then each object by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image as PillowImage

from shape3d_amodal.drawing.colors import Color, distinct_colors
from shape3d_amodal.drawing.overlays import Image, draw_mask, outline
from shape3d_amodal.drawing.projections import mesh_over_image
from shape3d_amodal.drawing.text import Tag, draw_tags
from shape3d_amodal.evaluation.tables import counted
from shape3d_amodal.methods.prediction import PredictedObject
from shape3d_amodal.reports import cases
from shape3d_amodal.reports.cases import Closeup, bounded
from shape3d_amodal.reports.html import CaseGroup, Panel, ReportCase

INTRO = (
    "Each image with all objects that were found in it, then each object by itself. Numbers and colours in an overview "
    "are those of the objects below it: filled is what is seen of an object, outlined is the whole object."
)
KEYS = tuple(replace(key, label=f"{key.label} of an object by itself") for key in cases.KEYS)
_SIDE = 256
_OVERVIEW = 640


def image_group(title: str, image: Image, objects: Sequence[PredictedObject]) -> CaseGroup:
    """An image [H,W,3] uint8 with all of its objects, the surest first, then each by itself."""
    height, width = image.shape[:2]
    note = f"{width} × {height} pixels · {counted(len(objects), 'object') if objects else 'no object found'}"
    panels = [Panel(label="image", image=bounded(image, _OVERVIEW))]
    if objects:
        label = "objects, numbered as below" if len(objects) > 1 else "object"
        panels.append(Panel(label=label, image=bounded(draw_objects(*_enlarged(image, objects)), _OVERVIEW)))
    overview = ReportCase(title="", caption="", panels=tuple(panels))
    alone = (
        _object_case(image, one, number, color)
        for number, (one, color) in enumerate(zip(objects, distinct_colors(len(objects)), strict=True), start=1)
    )
    return CaseGroup(title=title, note=note, cases=(overview, *alone))


def draw_objects(image: Image, objects: Sequence[PredictedObject]) -> Image:
    """All objects over their image, each in its colour, with its number, category and score.

    Visible parts are tinted, whole masks outlined. Lines and letters grow with the image.
    """
    thickness = max(2, round(max(image.shape) / 320))
    tags = []
    for number, (one, color) in enumerate(zip(objects, distinct_colors(len(objects)), strict=True), start=1):
        image = outline(draw_mask(image, one.visible, color), one.amodal, color, thickness=thickness)
        texts = (f"{number} {one.category} {one.score:.2f}", f"{number} {one.category}", f"{number}")
        tags.append(Tag(texts, color, one.visible))
    return draw_tags(image, tags)


def _enlarged(image: Image, objects: Sequence[PredictedObject]) -> tuple[Image, list[PredictedObject]]:
    """A small image and its masks with whole blocks of pixels for each pixel, so that letters fit."""
    factor = max(1, _OVERVIEW // max(image.shape[:2]))
    if factor == 1:
        return image, list(objects)
    size = (image.shape[1] * factor, image.shape[0] * factor)
    large = np.asarray(PillowImage.fromarray(image).resize(size, PillowImage.Resampling.BICUBIC))
    block = np.ones((factor, factor), bool)
    return large, [
        replace(one, visible=np.kron(one.visible, block), amodal=np.kron(one.amodal, block)) for one in objects
    ]


def _object_case(image: Image, one: PredictedObject, number: int, color: Color) -> ReportCase:
    """The object's surroundings: as they are, with its masks, and with its mesh."""
    near = Closeup(image, one.visible, [one.amodal], _SIDE)
    panels = [near.panel("image", near.image), near.panel("visible and hidden part", near.drawn(one.amodal))]
    whole = one.completed
    if whole is not None and len(whole.faces):
        over = mesh_over_image(near.image, whole.verts, whole.faces, whole.viewpoint, near.window(whole.window))
        panels.append(near.panel("mesh", over))
    hidden = 1 - one.visible.sum() / max(1, one.amodal.sum())
    caption = f"score {one.score:.2f} · {100 * hidden:.0f} % hidden"
    title = f"{number} {one.category}"
    return ReportCase(title=title, caption=caption, panels=tuple(panels), score=one.score, color=color)
