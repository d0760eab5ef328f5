"""Our annotation file: hand-written records, what is written, and round trips. Bad records are in tests/attacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_datasets import datasets
from hypothesis import given, settings
from PIL import Image

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.images import ImageFiles
from shape3d_amodal.errors import DataError
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category, Rle

# 4 x 5 pixels; the object fills columns 1 and 2 (runs 4, 8, 8), its left column is visible (runs 4, 4, 12).
AMODAL, VISIBLE = Rle(4, 5, "488"), Rle(4, 5, "44<")


def document(**annotation: Any) -> dict[str, Any]:
    return {
        "info": {"year": 2020},
        "images": [
            {"id": 4, "file_name": "a.png", "width": 5, "height": 4, "camera": {"azimuth_deg": 30.0}},
            {"id": 2, "file_name": "b.png", "width": 5, "height": 4},
        ],
        "categories": [{"id": 7, "name": "chair", "supercategory": "furniture"}],
        "annotations": [{"id": 9, "image_id": 4, "category_id": 7, "visible_mask": VISIBLE.to_coco(), **annotation}],
    }


def read(folder: Path, value: dict[str, Any]) -> AmodalDataset:
    (folder / "set.json").write_text(json.dumps(value))
    return read_dataset(folder / "set.json")


def only(dataset: AmodalDataset) -> AmodalInstance:
    return dataset.images[0].instances[0]


def test_visible_masks_alone_are_enough(tmp_path: Path) -> None:
    dataset = read(tmp_path, document())
    assert dataset.categories == (Category(7, "chair", "furniture"),)
    assert [(image.id, image.file_name, len(image.instances)) for image in dataset.images] == [
        (4, "a.png", 1),
        (2, "b.png", 0),
    ]
    assert dataset.images[0].camera == {"azimuth_deg": 30.0}
    assert only(dataset) == AmodalInstance(id=9, category_id=7, visible=VISIBLE)


def test_numbers_beyond_float64_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text(json.dumps(document()).replace("30.0", "1e999"))
    with pytest.raises(DataError, match="camera: expected an object of finite numbers"):
        read_dataset(path)


@pytest.mark.parametrize(
    "segmentation",
    [
        AMODAL.to_coco(),
        {"size": [4, 5], "counts": [4, 8, 8]},
        [[1, 0, 3, 0, 3, 4, 1, 4]],
        [1, 0, 3, 0, 3, 4, 1, 4],
        [[1, 0, 2, 0, 2, 4, 1, 4], [2.0, 0.0, 3.0, 0.0, 3.0, 4.0, 2.0, 4.0]],
    ],
)
def test_every_kind_of_mask(segmentation: Any, tmp_path: Path) -> None:
    instance = only(read(tmp_path, document(segmentation=segmentation)))
    assert instance.amodal == AMODAL
    assert instance.occlude_rate == 0.5


def test_optional_fields(tmp_path: Path) -> None:
    extra = {"depth_order": 3, "ignore": 1, "iscrowd": 0, "mesh": "chair/x", "bbox": [0, 0, 1, 1], "occlude_rate": 0.9}
    instance = only(read(tmp_path, document(segmentation=AMODAL.to_coco(), **extra)))
    assert (instance.depth_order, instance.ignore, instance.mesh) == (3, True, "chair/x")
    assert instance.occlude_rate == 0.5  # follows from the masks, whatever the file says


@pytest.mark.parametrize(
    ("flags", "ignore", "crowd"), [((1, 0), True, False), ((0, 1), True, True), ((1, 1), True, True)]
)
def test_crowds_are_ignored_and_stay_crowds(tmp_path: Path, flags: tuple[int, int], ignore: bool, crowd: bool) -> None:
    dataset = read(tmp_path, document(ignore=flags[0], iscrowd=flags[1]))
    assert (only(dataset).ignore, only(dataset).crowd) == (ignore, crowd)
    write_coco_amodal(tmp_path / "again.json", dataset)
    assert read_dataset(tmp_path / "again.json") == dataset


@pytest.mark.parametrize("sign", [1, -1])
def test_ids_are_numbers_that_all_programs_hold(tmp_path: Path, sign: int) -> None:
    assert only(read(tmp_path, document(id=sign * 2**53))).id == sign * 2**53
    with pytest.raises(DataError, match=r"annotations\[0\].id: expected an id from -9007199254740992 to"):
        read(tmp_path, document(id=sign * (2**53 + 1)))


def test_null_means_unknown(tmp_path: Path) -> None:
    instance = only(read(tmp_path, document(segmentation=None, depth_order=None, mesh=None, invisible_mask=None)))
    assert instance == AmodalInstance(id=9, category_id=7, visible=VISIBLE)


def test_fully_hidden_objects_are_kept(tmp_path: Path) -> None:
    for nothing in ({"size": [4, 5], "counts": [20]}, []):
        instance = only(read(tmp_path, document(visible_mask=nothing, segmentation=AMODAL.to_coco())))
        assert instance.occlude_rate == 1.0
        assert masks.area(instance.visible) == 0


def test_an_object_without_any_pixel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"annotations\[0\].visible_mask: expected a mask with at least one pixel"):
        read(tmp_path, document(visible_mask={"size": [4, 5], "counts": [20]}))
    with pytest.raises(DataError, match=r"annotations\[0\].segmentation: expected a mask with at least one pixel"):
        read(tmp_path, document(segmentation={"size": [4, 5], "counts": [20]}))


def test_what_follows_from_the_masks_is_written(tmp_path: Path) -> None:
    whole = AmodalInstance(id=1, category_id=7, visible=VISIBLE, amodal=AMODAL, depth_order=0, mesh="chair/x")
    part = AmodalInstance(id=2, category_id=7, visible=VISIBLE, ignore=True)
    image = AmodalImage(id=1, file_name="a.png", width=5, height=4, instances=(whole, part))
    write_coco_amodal(tmp_path / "set.json", AmodalDataset(images=(image,), categories=(Category(7, "chair"),)))
    written = json.loads((tmp_path / "set.json").read_text())
    assert written["images"] == [{"id": 1, "file_name": "a.png", "width": 5, "height": 4}]
    assert written["annotations"] == [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 7,
            "visible_mask": {"size": [4, 5], "counts": "44<"},
            "ignore": 0,
            "iscrowd": 0,
            "segmentation": {"size": [4, 5], "counts": "488"},
            "invisible_mask": {"size": [4, 5], "counts": "848"},
            "bbox": [1, 0, 2, 4],
            "area": 8,
            "occlude_rate": 0.5,
            "depth_order": 0,
            "mesh": "chair/x",
        },
        {
            "id": 2,
            "image_id": 1,
            "category_id": 7,
            "visible_mask": {"size": [4, 5], "counts": "44<"},
            "ignore": 1,
            "iscrowd": 0,
        },
    ]


def check_round_trip(folder: Path, examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(datasets())
    def check(dataset: AmodalDataset) -> None:
        write_coco_amodal(folder / "set.json", dataset)
        assert read_dataset(folder / "set.json") == dataset

    check()


def test_round_trip(tmp_path: Path) -> None:
    check_round_trip(tmp_path, 40)


@pytest.mark.slow
def test_round_trip_at_length(tmp_path: Path) -> None:
    check_round_trip(tmp_path, 1000)


def test_an_image_is_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = AmodalImage(id=1, file_name="a.png", width=5, height=4, instances=())
    np.testing.assert_array_equal(ImageFiles(tmp_path, Path("set.json")).read(image), pixels)


def test_an_image_is_read_names_the_annotation_of_a_bad_name(tmp_path: Path) -> None:
    image = AmodalImage(id=1, file_name="../a.png", width=5, height=4, instances=())
    with pytest.raises(DataError, match=r"^set.json: images\[id=1\].file_name: "):
        ImageFiles(tmp_path, Path("set.json")).read(image)
