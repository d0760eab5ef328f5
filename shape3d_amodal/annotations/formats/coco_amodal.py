"""Our own annotation format: COCO with a visible and an amodal mask for each instance.

    {"images": [{"id", "file_name", "width", "height", "camera"?, "depth_constraint"?, "cam_K"?}],
     "categories": [{"id", "name", "supercategory"?}],
     "annotations": [{"id", "image_id", "category_id", "visible_mask", "segmentation"?, "invisible_mask"?,
                      "occlude_rate"?, "iscrowd"?, "bbox"?, "area"?,
                      "depth_order"?, "cluster"?, "ignore"?, "isStuff"?, "mesh"?, "viewpoint"?,
                      "cam_R_m2c"?, "cam_t_m2c"?, "track_id"?}]}

Masks are run-length codes of either kind or polygons; ``segmentation`` is the amodal mask, ``bbox`` (x, y, width,
height) and ``area`` are its box and area. Fields that follow from the masks (``bbox``, ``area``, ``occlude_rate``,
``invisible_mask``) are written, and computed anew on reading. Poses and cameras (``cam_R_m2c``, ``cam_t_m2c``,
``cam_K``) are written as BOP writes them (``formats.poses``).

COCOA-cls and D2SA are this format without ``depth_constraint``, ``camera``, ``cam_K`` and the last nine fields, and
with ``segmentation`` everywhere. No key tells them apart, so that their files are recognised as ``coco_amodal``, which
reads them just the same.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.interface import CROWDS, Format
from shape3d_amodal.annotations.formats.poses import POSE_KEYS, camera_matrix, pose_fields
from shape3d_amodal.annotations.formats.reading import read_records
from shape3d_amodal.annotations.formats.writing import document, header, image_entry, require_amodal
from shape3d_amodal.files.atomic import write_json_atomic
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance


def write_coco_amodal(path: str | Path, dataset: AmodalDataset) -> None:
    """Write all of ``dataset`` to ``path`` atomically.

    Raises:
        DataError: the file cannot be written.
    """
    write_json_atomic(path, coco_document(dataset))


def write_d2sa(path: str | Path, dataset: AmodalDataset) -> None:
    """Write ``dataset`` to ``path`` atomically in the format of D2SA and COCOA-cls; ignored objects become crowds.

    Raises:
        DataError: an object without amodal mask, or the file cannot be written.
    """
    annotations = []
    for image in dataset.images:
        for instance in image.instances:
            require_amodal(instance, path)
            annotations.append({**header(instance, image), **mask_fields(instance)})
    write_json_atomic(path, document(dataset, annotations))


def coco_document(dataset: AmodalDataset) -> dict[str, Any]:
    """The content of ``write_coco_amodal``'s file, as plain values for JSON."""
    annotations = [_record(instance, image) for image in dataset.images for instance in image.instances]
    return document(dataset, annotations, entry=_image)


def mask_fields(instance: AmodalInstance) -> dict[str, Any]:
    """The masks and the fields that follow from them; without an amodal mask only ``visible_mask``."""
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


def _image(image: AmodalImage) -> dict[str, Any]:
    entry = image_entry(image)
    if image.depth_constraint:
        entry["depth_constraint"] = [list(pair) for pair in image.depth_constraint]
    if image.camera is not None:
        entry["camera"] = image.camera
    if image.intrinsics is not None:
        entry["cam_K"] = camera_matrix(image.intrinsics)
    return entry


def _record(instance: AmodalInstance, image: AmodalImage) -> dict[str, Any]:
    record = {**header(instance, image), **mask_fields(instance)}
    for key in ("depth_order", "cluster", "mesh", "viewpoint"):
        value = getattr(instance, key)
        if value is not None:
            record[key] = value
    if instance.track is not None:
        record["track_id"] = instance.track
    if instance.pose is not None:
        record |= pose_fields(instance.pose)
    record |= {"ignore": int(instance.ignore), "iscrowd": int(instance.crowd)}
    return {**record, "isStuff": 1} if instance.is_stuff else record


COCO_AMODAL = Format(
    name="coco_amodal",
    read=read_records,
    write=write_coco_amodal,
    amodal="segmentation",
    visible="visible_mask",
    invisible="invisible_mask",
    amodal_box="bbox",
    amodal_area="area",
    rate="occlude_rate",
    order="depth_order",
    cluster="cluster",
    needs_amodal=False,
    more=("id", "image_id", "category_id", "iscrowd", "ignore", "isStuff", "mesh", "viewpoint", "track_id", *POSE_KEYS),
    image_more=("camera", "depth_constraint", "cam_K"),
)
COCO = replace(
    COCO_AMODAL,
    name="coco",
    amodal=None,
    visible="segmentation",
    invisible=None,
    amodal_box=None,
    visible_box="bbox",
    amodal_area=None,
    visible_area="area",
    rate=None,
)
"""Plain COCO, whose ``segmentation`` shows the visible pixels. No key tells it apart: it is read by request alone."""
D2SA = replace(
    COCO_AMODAL,
    name="d2sa",
    write=write_d2sa,
    notes=CROWDS,
    published={
        "cocoa-cls-train": {"images": 2276, "categories": 80},  # 2476 in the papers is a slip, as two authors say
        "cocoa-cls-val": {"images": 1223, "categories": 80},
        "d2sa": {"categories": 60},
    },
)
