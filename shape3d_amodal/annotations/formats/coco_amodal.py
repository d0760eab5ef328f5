"""One COCO record an instance, with visible and amodal mask: our own annotation file, COCOA-cls and D2SA.

    {"images": [{"id", "file_name", "width", "height", "camera"?, "depth_constraint"?}],
     "categories": [{"id", "name", "supercategory"?}],
     "annotations": [{"id", "image_id", "category_id", "visible_mask", "segmentation"?, "invisible_mask"?,
                      "occlude_rate"?, "iscrowd"?, "bbox"?, "area"?,
                      "depth_order"?, "cluster"?, "ignore"?, "isStuff"?, "mesh"?, "viewpoint"?}]}

Masks are run-length codes of either kind or polygons; ``segmentation`` is the amodal mask, and ``bbox`` (x, y, width,
height) and ``area`` are its own. What follows from the masks (``bbox``, ``area``, ``occlude_rate``, ``invisible_mask``)
is written, and on reading computed anew. ``depth_constraint`` and the annotations' last six fields are ours alone, as
are records without ``segmentation``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.layout import Layout
from shape3d_amodal.annotations.formats.writing import (
    amodal_mask,
    category_entries,
    header,
    image_entry,
    write_document,
)
from shape3d_amodal.errors import DataError
from shape3d_amodal.files import safe_io
from shape3d_amodal.files.atomic import write_json_atomic
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance

COCO_AMODAL = Layout(
    name="coco_amodal",
    amodal="segmentation",
    visible="visible_mask",
    invisible="invisible_mask",
    amodal_box="bbox",
    amodal_area="area",
    rate="occlude_rate",
    order="depth_order",
    cluster="cluster",
    needs_amodal=False,
    more=("id", "image_id", "category_id", "iscrowd", "ignore", "isStuff", "mesh", "viewpoint"),
    image_more=("camera", "depth_constraint"),
)


def write_coco_amodal(path: str | Path, dataset: AmodalDataset) -> None:
    """Write ``dataset`` to ``path`` atomically, all of it. Without amodal mask the fields that follow from it miss.

    Raises:
        DataError: the file cannot be written.
    """
    write_json_atomic(path, coco_document(dataset))


def coco_document(dataset: AmodalDataset) -> dict[str, Any]:
    """What ``write_coco_amodal`` writes, as plain values for JSON."""
    return {
        "images": [_image(image) for image in dataset.images],
        "categories": category_entries(dataset),
        "annotations": [_record(instance, image) for image in dataset.images for instance in image.instances],
    }


def write_d2sa(path: str | Path, dataset: AmodalDataset) -> None:
    """Write ``dataset`` to ``path`` atomically in the published form of D2SA and COCOA-cls, which holds no order.

    Ignored objects become crowds.

    Raises:
        DataError: an object without amodal mask, or the file cannot be written.
    """
    annotations = []
    for image in dataset.images:
        for instance in image.instances:
            amodal_mask(instance, path)
            annotations.append({**header(instance, image), **_masks(instance)})
    write_document(path, dataset, annotations)


def load_image(dataset_root: str | Path, image: AmodalImage, *, file: str | Path) -> np.ndarray:
    """The pixels of ``image``, [H,W,3] uint8, from inside ``dataset_root``.

    Args:
        file: the annotation file, named when its ``file_name`` or size is at fault.

    Raises:
        DataError: the name leads out of the folder, the image cannot be read, or its size is not the annotated one.
    """
    field = f"images[id={image.id}]"
    path = safe_io.resolve_inside(dataset_root, image.file_name, file=file, field=f"{field}.file_name")
    pixels = safe_io.read_image(path)
    height, width = pixels.shape[:2]
    if (height, width) != (image.height, image.width):
        raise DataError(
            f"expected {image.width} x {image.height} pixels (width x height) as annotated, got {width} x {height} in "
            f"{path}; use the images that were annotated",
            file=file,
            field=field,
        )
    return pixels


def _image(image: AmodalImage) -> dict[str, Any]:
    entry = image_entry(image)
    if image.depth_constraint:
        entry["depth_constraint"] = [list(pair) for pair in image.depth_constraint]
    if image.camera is not None:
        entry["camera"] = image.camera
    return entry


def _record(instance: AmodalInstance, image: AmodalImage) -> dict[str, Any]:
    own = {
        "depth_order": instance.depth_order,
        "cluster": instance.cluster,
        "mesh": instance.mesh,
        "viewpoint": instance.viewpoint,
    }
    record = {
        **header(instance, image),
        **_masks(instance),
        **{key: value for key, value in own.items() if value is not None},
        "ignore": int(instance.ignore),
        "iscrowd": int(instance.crowd),
    }
    return {**record, "isStuff": 1} if instance.is_stuff else record


def _masks(instance: AmodalInstance) -> dict[str, Any]:
    """The masks, and what follows from them."""
    visible, amodal = instance.visible, instance.amodal
    if amodal is None:
        return {"visible_mask": visible.to_coco()}
    return {
        "visible_mask": visible.to_coco(),
        "segmentation": amodal.to_coco(),
        "invisible_mask": masks.subtract(amodal, visible).to_coco(),
        "bbox": list(masks.bbox(amodal)),
        "area": masks.area(amodal),
        "occlude_rate": masks.occlude_rate(visible, amodal),
    }
