"""D2SA and COCOA-cls as they are published: the keys of ``coco_amodal``, without order, pairs and flags.

    {"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name", "supercategory"?}],
     "annotations": [{"id", "image_id", "category_id", "iscrowd", "visible_mask", "segmentation" (amodal),
                      "invisible_mask", "bbox", "area", "occlude_rate"}]}

No key tells them from our own format, so that files are recognised as ``coco_amodal``, which reads them just the same.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from shape3d_amodal.annotations.formats.coco_amodal import COCO_AMODAL, mask_fields
from shape3d_amodal.annotations.formats.interface import CROWDS
from shape3d_amodal.annotations.formats.writing import document, header, require_amodal
from shape3d_amodal.files.atomic import write_json_atomic
from shape3d_amodal.structures import AmodalDataset


def write_d2sa(path: str | Path, dataset: AmodalDataset) -> None:
    """Write ``dataset`` to ``path`` atomically; ignored objects become crowds.

    Raises:
        DataError: an object without amodal mask, or the file cannot be written.
    """
    annotations = []
    for image in dataset.images:
        for instance in image.instances:
            require_amodal(instance, path)
            annotations.append({**header(instance, image), **mask_fields(instance)})
    write_json_atomic(path, document(dataset, annotations))


D2SA = replace(
    COCO_AMODAL,
    name="d2sa",
    write=write_d2sa,
    notes=CROWDS,
    published={
        "cocoa-cls-train": {"images": 2476, "categories": 80},
        "cocoa-cls-val": {"images": 1223, "categories": 80},
        "d2sa": {"categories": 60},
    },
)
