"""Functions that the writers of all formats share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from shape3d_amodal.errors import DataError, check_choice
from shape3d_amodal.masks.rle import MAX_POLYGON_LENGTH
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Rle

MaskForm = Literal["rle", "polygons"]


def check_form(form: object) -> None:
    """
    Raises:
        UsageError: it is none of ``MaskForm``.
    """
    check_choice("form", form, get_args(MaskForm))


def image_entry(image: AmodalImage) -> dict[str, Any]:
    return {"id": image.id, "file_name": image.file_name, "width": image.width, "height": image.height}


def document(
    dataset: AmodalDataset,
    annotations: list[dict[str, Any]],
    *,
    entry: Callable[[AmodalImage], dict[str, Any]] = image_entry,
) -> dict[str, Any]:
    """A COCO document: an ``entry`` for each image, the categories, and ``annotations``."""
    categories = []
    for category in dataset.categories:
        more = {} if category.supercategory is None else {"supercategory": category.supercategory}
        categories.append({"id": category.id, "name": category.name, **more})
    return {"images": [entry(image) for image in dataset.images], "categories": categories, "annotations": annotations}


def header(instance: AmodalInstance, image: AmodalImage) -> dict[str, Any]:
    """The fields that COCO's annotations share; ignored objects become crowds, which COCO's evaluators ignore."""
    ids = {"id": instance.id, "image_id": image.id, "category_id": instance.category_id}
    return {**ids, "iscrowd": int(instance.ignore)}


def require_amodal(instance: AmodalInstance, path: str | Path) -> Rle:
    """The amodal mask, which every format but our own needs; a ``DataError`` where there is none."""
    if instance.amodal is None:
        problem = f"cannot write instance {instance.id}: it has no amodal mask, which this format needs"
        raise DataError(f"{problem}; write coco_amodal instead", file=path)
    return instance.amodal


def mask_value(rle: Rle, form: MaskForm, path: str | Path) -> Any:
    """The mask as a run-length code, or as a list of one polygon (an empty list for an empty mask)."""
    if form == "rle":
        return rle.to_coco()
    polygon = polygon_of(rle, path)
    return [polygon] if polygon else []


def polygon_of(rle: Rle, path: str | Path) -> list[int]:
    """The mask as one flat polygon (``to_polygon``); a ``DataError`` where it would be too long to be read again."""
    from shape3d_amodal.masks.outlines import to_polygon

    polygon = to_polygon(rle)
    corners = np.array(polygon).reshape(-1, 2)
    if np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1, initial=0).sum() > MAX_POLYGON_LENGTH:
        problem = "cannot write a mask of so many scattered pixels as a polygon; write kins2020 with run-length codes"
        raise DataError(problem, file=path)
    return polygon
