"""KINS in both of its formats: COCO JSON with one record an instance.

2019 (``instances_train.json``, ``instances_val.json``; 7 categories, without id 3)::

    annotations: [{"id", "image_id", "category_id", "iscrowd", "segmentation" (amodal polygons), "area", "bbox",
                   "inmodal_seg" (RLE), "inmodal_bbox"}]

2020 (``update_train_2020.json``, ``update_test_2020.json``; 8 categories)::

    annotations: [{"id", "image_id", "category_id", "iscrowd", "a_segm", "a_bbox", "a_area", "i_segm", "i_bbox",
                   "i_area", "oco_id" (cluster), "ico_id" (order in the cluster, 0 for an object that overlaps none)}]

The masks of 2020 are polygons in some copies and run-length codes in others. Both kinds are read, here as everywhere.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.interface import CROWDS, Format
from shape3d_amodal.annotations.formats.reading import read_records
from shape3d_amodal.annotations.formats.writing import (
    MaskForm,
    check_form,
    document,
    header,
    mask_value,
    require_amodal,
)
from shape3d_amodal.files.atomic import write_json_atomic
from shape3d_amodal.masks.clusters import kins_orders
from shape3d_amodal.structures import AmodalDataset

CLASSES = ("cyclist", "pedestrian", "rider", "car", "tram", "truck", "van", "misc")
"""The classes of KINS 2020, in the order of their ids from 1; KINS 2019 has no rider."""
CATEGORY_IDS = {name: number for number, name in enumerate(CLASSES, 1)}


def write_kins2020(path: str | Path, dataset: AmodalDataset, *, form: MaskForm = "rle") -> None:
    """Write ``dataset`` to ``path`` atomically in the format of KINS 2020.

    Images without clusters are divided by the overlaps of their amodal masks, and the objects of each cluster ranked
    anew by the image's order. Ignored objects become crowds. A reader gets equal masks back from either ``form``.

    Raises:
        DataError: an object without amodal mask, or the file cannot be written.
        UsageError: ``form`` is neither word.
    """
    check_form(form)
    annotations = []
    for image in dataset.images:
        for instance, (cluster, order) in zip(image.instances, kins_orders(image), strict=True):
            amodal, visible = require_amodal(instance, path), instance.visible
            record = {
                **header(instance, image),
                "a_segm": mask_value(amodal, form, path),
                "a_bbox": list(masks.bbox(amodal)),
                "a_area": masks.area(amodal),
                "i_segm": mask_value(visible, form, path),
                "i_bbox": list(masks.bbox(visible)),
                "i_area": masks.area(visible),
                "oco_id": cluster,
            }
            annotations.append(record if order is None else {**record, "ico_id": order})
    write_json_atomic(path, document(dataset, annotations))


def write_kins2019(path: str | Path, dataset: AmodalDataset) -> None:
    """Write ``dataset`` to ``path`` atomically in the format of KINS 2019, which holds no order.

    Raises:
        DataError: an object without amodal mask, or the file cannot be written.
    """
    annotations = []
    for image in dataset.images:
        for instance in image.instances:
            amodal = require_amodal(instance, path)
            masks_2019 = {
                "segmentation": mask_value(amodal, "polygons", path),
                "area": masks.area(amodal),
                "bbox": list(masks.bbox(amodal)),
                "inmodal_seg": instance.visible.to_coco(),
                "inmodal_bbox": list(masks.bbox(instance.visible)),
            }
            annotations.append(header(instance, image) | masks_2019)
    write_json_atomic(path, document(dataset, annotations))


KINS_2019 = Format(
    name="kins2019",
    read=read_records,
    write=write_kins2019,
    signs=("inmodal_seg",),
    amodal="segmentation",
    visible="inmodal_seg",
    invisible="invisible_mask",
    amodal_box="bbox",
    visible_box="inmodal_bbox",
    amodal_area="area",
    rate="occlude_rate",
    notes=CROWDS,
    published={"kins2019": {"categories": 7}},
)
"""Some converters call the visible masks of COCOA-cls and D2SA ``inmodal_seg``; those files are read as this format."""
KINS_2020 = Format(
    name="kins2020",
    read=read_records,
    write=write_kins2020,
    write_polygons=partial(write_kins2020, form="polygons"),
    signs=("a_segm", "i_segm"),
    amodal="a_segm",
    visible="i_segm",
    amodal_box="a_bbox",
    visible_box="i_bbox",
    amodal_area="a_area",
    visible_area="i_area",
    order="ico_id",
    cluster="oco_id",
    notes={
        **CROWDS,
        "depth_order": "counted anew in each cluster, from 1 on, 0 for what overlaps no other",
        "cluster": "the overlaps of the amodal masks decide",
    },
    published={"kins-train": {"images": 7474}, "kins-test": {"images": 7517}, "kins2020": {"categories": 8}},
)
