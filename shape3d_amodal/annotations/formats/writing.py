"""What the writers of all formats share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from shape3d_amodal.errors import DataError
from shape3d_amodal.files.atomic import write_json_atomic
from shape3d_amodal.masks.outlines import to_polygon
from shape3d_amodal.masks.rle import MAX_POLYGON_LENGTH
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Rle

MaskForm = Literal["rle", "polygons"]


def write_document(path: str | Path, dataset: AmodalDataset, annotations: list[dict[str, Any]]) -> None:
    """Write a COCO file of plain image entries, the categories and ``annotations``."""
    document = {
        "images": [image_entry(image) for image in dataset.images],
        "categories": category_entries(dataset),
        "annotations": annotations,
    }
    write_json_atomic(path, document)


def image_entry(image: AmodalImage) -> dict[str, Any]:
    return {"id": image.id, "file_name": image.file_name, "width": image.width, "height": image.height}


def category_entries(dataset: AmodalDataset) -> list[dict[str, Any]]:
    entries = []
    for category in dataset.categories:
        entry: dict[str, Any] = {"id": category.id, "name": category.name}
        entries.append(entry if category.supercategory is None else {**entry, "supercategory": category.supercategory})
    return entries


def header(instance: AmodalInstance, image: AmodalImage) -> dict[str, Any]:
    """The fields that COCO's annotations share; what is ignored becomes a crowd, which COCO's evaluators ignore."""
    return {
        "id": instance.id,
        "image_id": image.id,
        "category_id": instance.category_id,
        "iscrowd": int(instance.ignore),
    }


def amodal_mask(instance: AmodalInstance, path: str | Path) -> Rle:
    """The amodal mask, which a format other than our own cannot do without."""
    if instance.amodal is None:
        raise DataError(
            f"cannot write instance {instance.id}: it has no amodal mask, which this format needs; "
            "write coco_amodal instead",
            file=path,
        )
    return instance.amodal


def mask_value(rle: Rle, form: MaskForm, path: str | Path) -> Any:
    """The mask as a run-length code, or as a list of one polygon, of none where it is empty."""
    if form == "rle":
        return rle.to_coco()
    polygon = polygon_of(rle, path)
    return [polygon] if polygon else []


def polygon_of(rle: Rle, path: str | Path) -> list[int]:
    """The mask as one flat polygon (``to_polygon``)."""
    polygon = to_polygon(rle)
    corners = np.array(polygon).reshape(-1, 2)
    if np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1, initial=0).sum() > MAX_POLYGON_LENGTH:
        problem = "cannot write a mask of so many scattered pixels as a polygon; write kins2020 with run-length codes"
        raise DataError(problem, file=path)
    return polygon
