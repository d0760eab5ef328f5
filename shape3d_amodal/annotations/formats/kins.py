"""KINS, both forms: COCO JSON with one record an instance.

2019 (``instances_train.json``, ``instances_val.json``; 7 categories, without id 3)::

    annotations: [{"id", "image_id", "category_id", "iscrowd", "segmentation" (amodal polygons), "area", "bbox",
                   "inmodal_seg" (RLE), "inmodal_bbox"}]

2020 (``update_train_2020.json``, ``update_test_2020.json``; 8 categories)::

    annotations: [{"id", "image_id", "category_id", "iscrowd", "a_segm", "a_bbox", "a_area", "i_segm", "i_bbox",
                   "i_area", "oco_id" (cluster), "ico_id" (order in the cluster, 0 for an object that overlaps none)}]

The masks of 2020 are polygons in some copies and run-length codes in others; both are read, here as everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.layout import Layout
from shape3d_amodal.annotations.formats.writing import MaskForm, amodal_mask, header, mask_value, write_document
from shape3d_amodal.masks.occlusion import kins_orders
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance

KINS_2019 = Layout(
    name="kins2019",
    amodal="segmentation",
    visible="inmodal_seg",
    invisible="invisible_mask",
    amodal_box="bbox",
    visible_box="inmodal_bbox",
    amodal_area="area",
    rate="occlude_rate",
)
"""Also what converters make of COCOA-cls and D2SA when they call the visible mask ``inmodal_seg``."""
KINS_2020 = Layout(
    name="kins2020",
    amodal="a_segm",
    visible="i_segm",
    amodal_box="a_bbox",
    visible_box="i_bbox",
    amodal_area="a_area",
    visible_area="i_area",
    order="ico_id",
    cluster="oco_id",
)


def write_kins2020(path: str | Path, dataset: AmodalDataset, *, form: MaskForm = "rle") -> None:
    """Write ``dataset`` to ``path`` atomically in the form of KINS 2020.

    Objects that the data set does not divide into clusters are divided by the overlaps of their amodal masks, with the
    orders of each cluster counted anew from the image's. Ignored objects become crowds. A reader gets equal masks back
    from either ``form``.

    Raises:
        DataError: an object without amodal mask, or the file cannot be written.
    """
    annotations = [
        _record_2020(instance, image, cluster, order, form, path)
        for image in dataset.images
        for instance, (cluster, order) in zip(image.instances, kins_orders(image), strict=True)
    ]
    write_document(path, dataset, annotations)


def write_kins2019(path: str | Path, dataset: AmodalDataset) -> None:
    """Write ``dataset`` to ``path`` atomically in the form of KINS 2019, which holds no order.

    Raises:
        DataError: an object without amodal mask, or the file cannot be written.
    """
    annotations = [_record_2019(instance, image, path) for image in dataset.images for instance in image.instances]
    write_document(path, dataset, annotations)


def _record_2020(
    instance: AmodalInstance, image: AmodalImage, cluster: int, order: int | None, form: MaskForm, path: str | Path
) -> dict[str, Any]:
    amodal, visible = amodal_mask(instance, path), instance.visible
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
    return record if order is None else {**record, "ico_id": order}


def _record_2019(instance: AmodalInstance, image: AmodalImage, path: str | Path) -> dict[str, Any]:
    amodal = amodal_mask(instance, path)
    return {
        **header(instance, image),
        "segmentation": mask_value(amodal, "polygons", path),
        "area": masks.area(amodal),
        "bbox": list(masks.bbox(amodal)),
        "inmodal_seg": instance.visible.to_coco(),
        "inmodal_bbox": list(masks.bbox(instance.visible)),
    }
