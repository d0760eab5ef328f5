"""KINS, both forms: what is written, and reading hand-made records."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.kins import write_kins2019, write_kins2020
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((6, 10), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def instance(id: int, amodal: np.ndarray, visible: np.ndarray, order: int | None, **more: object) -> AmodalInstance:
    codes = {"amodal": masks.encode(amodal), "visible": masks.encode(visible)}
    return AmodalInstance(id=id, category_id=4, depth_order=order, **codes, **more)  # type: ignore[arg-type]


def one_image(*instances: AmodalInstance) -> AmodalDataset:
    image = AmodalImage(id=3, file_name="000003.png", width=10, height=6, instances=instances)
    return AmodalDataset(images=(image,), categories=(Category(4, "car", "vehicle"),))


NEAR, FAR, ALONE = box(0, 0, 4, 4), box(2, 2, 6, 6), box(8, 0, 10, 2)


def test_the_records_of_2020(tmp_path: Path) -> None:
    dataset = one_image(
        instance(11, FAR, FAR & ~NEAR, 5), instance(12, ALONE, ALONE, 1, ignore=True), instance(13, NEAR, NEAR, 2)
    )
    write_kins2020(tmp_path / "set.json", dataset)
    written = json.loads((tmp_path / "set.json").read_text())
    assert written["images"] == [{"id": 3, "file_name": "000003.png", "width": 10, "height": 6}]
    assert written["categories"] == [{"id": 4, "name": "car", "supercategory": "vehicle"}]
    assert written["annotations"][0] == {
        "id": 11,
        "image_id": 3,
        "category_id": 4,
        "iscrowd": 0,
        "a_segm": masks.encode(FAR).to_coco(),
        "a_bbox": [2, 2, 4, 4],
        "a_area": 16,
        "i_segm": masks.encode(FAR & ~NEAR).to_coco(),
        "i_bbox": [2, 2, 4, 4],
        "i_area": 12,
        "oco_id": 0,
        "ico_id": 2,
    }
    assert [(one["oco_id"], one["ico_id"], one["iscrowd"]) for one in written["annotations"]] == [
        (0, 2, 0),
        (1, 0, 1),
        (0, 1, 0),
    ]


def test_clusters_and_orders_of_kins_stay(tmp_path: Path) -> None:
    dataset = one_image(instance(1, FAR, FAR & ~NEAR, 7, cluster=5), instance(2, NEAR, NEAR, 3, cluster=5))
    write_kins2020(tmp_path / "set.json", dataset)
    written = json.loads((tmp_path / "set.json").read_text())["annotations"]
    assert [(one["oco_id"], one["ico_id"]) for one in written] == [(5, 7), (5, 3)]


def test_the_records_of_2019_have_amodal_polygons(tmp_path: Path) -> None:
    write_kins2019(tmp_path / "set.json", one_image(instance(1, FAR, FAR & ~NEAR, 0)))
    record = json.loads((tmp_path / "set.json").read_text())["annotations"][0]
    assert record == {
        "id": 1,
        "image_id": 3,
        "category_id": 4,
        "iscrowd": 0,
        "segmentation": [[2, 2, 6, 2, 6, 6, 2, 6]],
        "area": 16,
        "bbox": [2, 2, 4, 4],
        "inmodal_seg": masks.encode(FAR & ~NEAR).to_coco(),
        "inmodal_bbox": [2, 2, 4, 4],
    }
