"""The results of a detector: a list in the form of COCO's results, beside a file that describes the images.

    [{"image_id", "category_id", "segmentation" (RLE or polygons, the visible pixels), "score"?, "visible_mask"?}]

With ``visible_mask``, as our own results have it, ``segmentation`` is the amodal mask. Objects have no ids and are
numbered from 1 in the order of the list.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from shape3d_amodal.annotations.formats.coco_amodal import COCO, COCO_AMODAL
from shape3d_amodal.annotations.formats.fields import Record
from shape3d_amodal.annotations.formats.interface import Listener, Reading
from shape3d_amodal.annotations.formats.objects import Found, find_object
from shape3d_amodal.annotations.formats.reading import (
    category_of,
    image_of,
    read_categories,
    read_images,
    settle,
)
from shape3d_amodal.structures import AmodalDataset

_DETECTIONS = replace(COCO, name="detections")
_OWN = replace(COCO_AMODAL, name="detections")


def read_detections(
    detections: list[Any], file: str | Path, info: Record, listener: Listener, *, min_score: float
) -> Reading:
    """The detections with a score of ``min_score`` or more as objects, masks as run-length codes.

    Args:
        detections: the parsed content of ``file``.
        info: a document with ``images`` and ``categories``; nothing else of it is looked at.
        min_score: detections without a score count as certain.

    Raises:
        DataError: an error that ``listener`` does not let pass, naming the field, e.g. ``[3].segmentation``.
    """
    images, categories = read_images(info, listener), read_categories(info, listener)
    found: dict[int, list[Found]] = defaultdict(list)
    low = 0
    for index, value in enumerate(detections):
        image_id = value.get("image_id") if isinstance(value, dict) else None
        with listener.about(image_id=image_id, annotation_id=index + 1):
            record = Record(value, file, f"[{index}]")
            if record.values.get("score") is not None and record.number("score") < min_score:
                low += 1
                continue
            image, category = image_of(record, images), category_of(record, categories)
            format = _OWN if record.values.get("visible_mask") is not None else _DETECTIONS
            found[image.id].append(find_object(record, format, image, identity=index + 1, category=category))
    done = tuple(
        replace(image, instances=settle(found[image.id], _DETECTIONS, listener), depth_constraint=())
        for image in images.values()
    )
    return Reading(AmodalDataset(images=done, categories=tuple(categories.values())), _DETECTIONS, (), low)
