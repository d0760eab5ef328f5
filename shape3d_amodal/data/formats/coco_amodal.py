"""Our own annotation file: COCO JSON in the way of D2SA, one record an instance with visible and amodal mask.

    {"images": [{"id", "file_name", "width", "height", "camera"?}],
     "categories": [{"id", "name"}],
     "annotations": [{"id", "image_id", "category_id", "visible_mask", "segmentation"?, "invisible_mask"?,
                      "occlude_rate"?, "depth_order"?, "ignore"?, "iscrowd"?, "bbox"?, "area"?, "mesh"?}]}

Masks are run-length codes of either kind or polygons; ``segmentation`` is the amodal mask, and ``bbox`` (x, y, width,
height) and ``area`` are its own. What follows from the masks (``bbox``, ``area``, ``occlude_rate``, ``invisible_mask``)
is written, and on reading computed anew.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from shape3d_amodal.data import masks, safe_io
from shape3d_amodal.data.atomic import write_json_atomic
from shape3d_amodal.data.formats.fields import Record, is_number
from shape3d_amodal.errors import DataError
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category, Rle


def read_coco_amodal(path: str | Path, *, require_visible: bool = True) -> AmodalDataset:
    """Read the annotation file ``path``; masks stay run-length codes.

    Args:
        require_visible: refuse empty visible masks. When False they are kept, for fully hidden objects. A missing
            ``visible_mask`` is refused either way.

    Raises:
        DataError: naming the file and the field, e.g. ``annotations[3].visible_mask``.
    """
    root = Record(safe_io.read_json(path), path, "")
    categories = tuple(
        Category(id=record.get("id", int), name=record.get("name", str)) for record in _records(root, "categories")
    )
    known = {category.id for category in categories}
    images = [_read_image(record) for record in _records(root, "images")]
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    instances: dict[int, list[AmodalInstance]] = defaultdict(list)
    for record in _records(root, "annotations"):
        image_id = record.get("image_id", int)
        if image_id not in sizes:
            raise record.error("image_id", f"no image has the id {image_id}; add the image or drop the annotation")
        instance = _read_instance(record, *sizes[image_id], require_visible=require_visible)
        if instance.category_id not in known:
            raise record.error("category_id", f"unknown category {instance.category_id}; add it to categories")
        instances[image_id].append(instance)
    return AmodalDataset(
        images=tuple(AmodalImage(**image, instances=tuple(instances[image["id"]])) for image in images),
        categories=categories,
    )


def write_coco_amodal(path: str | Path, dataset: AmodalDataset) -> None:
    """Write ``dataset`` to ``path`` atomically. Without an amodal mask the fields that follow from it are left out.

    Raises:
        DataError: the file cannot be written.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in dataset.images:
        entry = {"id": image.id, "file_name": image.file_name, "width": image.width, "height": image.height}
        images.append(entry if image.camera is None else {**entry, "camera": image.camera})
        annotations += [_annotation(instance, image.id) for instance in image.instances]
    categories = [{"id": category.id, "name": category.name} for category in dataset.categories]
    write_json_atomic(path, {"images": images, "categories": categories, "annotations": annotations})


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


def _records(root: Record, key: str) -> list[Record]:
    """The objects of the list ``key``, whose ``id`` must differ."""
    records = [Record(value, root.file, f"{key}[{i}]") for i, value in enumerate(root.get(key, list))]
    seen: set[int] = set()
    for record in records:
        identity = record.get("id", int)
        if identity in seen:
            raise record.error("id", f"duplicate id {identity}; give every entry of {key} its own")
        seen.add(identity)
    return records


def _read_image(record: Record) -> dict[str, Any]:
    height, width = record.get("height", int), record.get("width", int)
    masks.check_size(height, width, file=record.file, field=record.field)
    camera = record.optional("camera", dict)
    if camera is not None and not all(map(is_number, camera.values())):
        raise record.error("camera", "expected an object of finite numbers")
    return {
        "id": record.get("id", int),
        "file_name": record.get("file_name", str),
        "height": height,
        "width": width,
        "camera": camera,
    }


def _read_instance(record: Record, height: int, width: int, *, require_visible: bool) -> AmodalInstance:
    if "visible_mask" not in record.values:
        raise record.error("visible_mask", "missing; expected a mask of the visible pixels")
    visible = _read_mask(record, "visible_mask", height, width, required=require_visible)
    amodal = None
    if record.values.get("segmentation") is not None:
        amodal = _read_mask(record, "segmentation", height, width, required=True)
    if record.values.get("invisible_mask") is not None:
        _read_mask(record, "invisible_mask", height, width, required=False)
    depth_order = record.optional("depth_order", int)
    if depth_order is not None and depth_order < 0:
        raise record.error("depth_order", f"expected 0 (nearest) or more, got {depth_order}")
    crowd = record.flag("iscrowd")  # a crowd is no single object, so it is never scored
    return AmodalInstance(
        id=record.get("id", int),
        category_id=record.get("category_id", int),
        visible=visible,
        amodal=amodal,
        occlude_rate=None if amodal is None else masks.occlude_rate(visible, amodal),
        depth_order=depth_order,
        ignore=record.flag("ignore") or crowd,
        mesh=record.optional("mesh", str),
    )


def _read_mask(record: Record, key: str, height: int, width: int, *, required: bool) -> Rle:
    rle = masks.from_annotation(record.values[key], height, width, file=record.file, field=record.place(key))
    if required and masks.area(rle) == 0:
        raise record.error(
            key, "expected a mask with at least one pixel, got an empty one; drop or redo the annotation"
        )
    return rle


def _annotation(instance: AmodalInstance, image_id: int) -> dict[str, Any]:
    annotation: dict[str, Any] = {
        "id": instance.id,
        "image_id": image_id,
        "category_id": instance.category_id,
        "visible_mask": instance.visible.to_coco(),
        "ignore": int(instance.ignore),
        "iscrowd": 0,
    }
    if instance.amodal is not None:
        hidden = masks.subtract(instance.amodal, instance.visible)
        annotation |= {
            "segmentation": instance.amodal.to_coco(),
            "invisible_mask": hidden.to_coco(),
            "bbox": list(masks.bbox(instance.amodal)),
            "area": masks.area(instance.amodal),
            "occlude_rate": masks.occlude_rate(instance.visible, instance.amodal),
        }
    if instance.depth_order is not None:
        annotation["depth_order"] = instance.depth_order
    if instance.mesh is not None:
        annotation["mesh"] = instance.mesh
    return annotation
