"""Plain COCO, and lists of a detector's results: their segmentation shows the visible pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.interface import Listener
from shape3d_amodal.annotations.formats.registry import read_annotations, read_dataset
from shape3d_amodal.annotations.validation import validate
from shape3d_amodal.cli import main
from shape3d_amodal.errors import DataError, UsageError

IMAGES = [{"id": 3, "file_name": "a.png", "width": 12, "height": 8}]
CATEGORIES = [{"id": 62, "name": "chair"}, {"id": 1, "name": "person"}]
LEFT, RIGHT = [[1, 2, 6, 2, 6, 7, 1, 7]], [[7, 1, 10, 1, 10, 5, 7, 5]]
BOXES = {"left": np.s_[2:7, 1:6], "right": np.s_[1:5, 7:10]}


def drawn(side: str) -> np.ndarray:
    mask = np.zeros((8, 12), bool)
    mask[BOXES[side]] = True
    return mask


def coco() -> dict[str, Any]:
    """A file as cocodataset.org describes it."""
    annotation = {"image_id": 3, "iscrowd": 0, "bbox": [1, 2, 5, 5], "area": 25}
    return {
        "info": {},
        "licenses": [],
        "images": IMAGES,
        "categories": CATEGORIES,
        "annotations": [
            {"id": 10, "category_id": 62, "segmentation": LEFT, **annotation},
            {"id": 20, "category_id": 1, "segmentation": RIGHT, **annotation, "bbox": [7, 1, 3, 4], "area": 12},
        ],
    }


def results() -> list[dict[str, Any]]:
    """A list as pycocotools' ``loadRes`` takes it."""
    runs = np.flatnonzero(np.diff(np.pad(drawn("right").ravel(order="F").astype(int), 1, constant_values=(0, 2))))
    code = {"size": [8, 12], "counts": np.diff([0, *runs.tolist()]).tolist()}
    return [
        {"image_id": 3, "category_id": 62, "bbox": [1, 2, 5, 5], "score": 0.9, "segmentation": LEFT},
        {"image_id": 3, "category_id": 1, "bbox": [7, 1, 3, 4], "score": 0.4, "segmentation": code},
    ]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "coco.json").write_text(json.dumps(coco()))
    (tmp_path / "results.json").write_text(json.dumps(results()))
    (tmp_path / "info.json").write_text(json.dumps({"images": IMAGES, "categories": CATEGORIES}))
    return tmp_path


def test_plain_coco_is_refused_with_the_option_that_reads_it(files: Path) -> None:
    with pytest.raises(DataError, match=r"visible_mask: missing; .*as in plain COCO, give --segmentation visible"):
        read_dataset(files / "coco.json")


def test_plain_coco_is_read_as_visible_masks(files: Path) -> None:
    reading = read_annotations(files / "coco.json", segmentation="visible")
    first, second = reading.dataset.images[0].instances
    assert (first.id, first.category_id, first.amodal, first.occlude_rate) == (10, 62, None, None)
    np.testing.assert_array_equal(masks.decode(first.visible), drawn("left"))
    np.testing.assert_array_equal(masks.decode(second.visible), drawn("right"))
    assert set(reading.unread) == {"info", "licenses"}


def test_a_file_with_visible_masks_of_its_own_is_no_plain_coco(files: Path) -> None:
    document = coco()
    document["annotations"][0]["visible_mask"] = LEFT
    (files / "own.json").write_text(json.dumps(document))
    document["annotations"][0]["inmodal_seg"] = LEFT
    (files / "kins.json").write_text(json.dumps(document))
    for name in ("own", "kins"):
        with pytest.raises(UsageError, match=r"has visible masks of its own"):
            read_dataset(files / f"{name}.json", segmentation="visible")


def test_plain_coco_is_converted_and_validated(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = str(files / "coco.json"), files / "new.json"
    assert main(["data", "validate", source]) == 3
    assert main(["data", "validate", source, "--segmentation", "visible"]) == 0
    assert validate(source, segmentation="visible")[0].format == "coco"
    to = ["--to", "coco_amodal", "--out", str(target)]
    assert main(["data", "convert", source, *to, "--segmentation", "visible"]) == 0
    assert read_dataset(target) == read_dataset(source, segmentation="visible")
    assert "2 objects from coco to coco_amodal" in capsys.readouterr().out


@pytest.mark.parametrize(("low", "ids"), [(0.5, [1]), (0.4, [1, 2]), (0.0, [1, 2]), (1.0, [])])
def test_a_list_of_results_is_read_above_a_score(low: float, ids: list[int], files: Path) -> None:
    reading = read_annotations(files / "results.json", image_info=files / "info.json", min_score=low)
    (image,) = reading.dataset.images
    assert (image.id, image.file_name) == (3, "a.png")
    assert [one.id for one in image.instances] == ids
    assert reading.low_scores == 2 - len(ids)
    for one, side in zip(image.instances, ("left", "right"), strict=False):
        assert one.amodal is None
        np.testing.assert_array_equal(masks.decode(one.visible), drawn(side))


def test_an_annotation_file_will_do_as_image_info(files: Path) -> None:
    reading = read_annotations(files / "results.json", image_info=files / "coco.json", min_score=0)
    assert [one.category_id for one in reading.dataset.images[0].instances] == [62, 1]


def test_results_without_scores_are_certain_and_their_own_visible_masks_count(files: Path) -> None:
    plain = results()
    for one in plain:
        del one["score"]
    plain[0]["visible_mask"] = [[1, 2, 3, 2, 3, 7, 1, 7]]
    (files / "results.json").write_text(json.dumps(plain))
    first, second = (
        read_annotations(files / "results.json", image_info=files / "info.json", min_score=0.99)
        .dataset.images[0]
        .instances
    )
    assert masks.area(first.visible) == 10 and first.amodal is not None
    assert second.amodal is None


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"segmentation": None}, r"\[0\].segmentation: missing; .*boxes alone cannot be completed"),
    ({"segmentation": []}, r"\[0\].segmentation: got an empty list, expected a mask"),
    ({"segmentation": {"size": [8, 12], "counts": [96]}}, r"\[0\].segmentation: expected a mask with at least one"),
    ({"segmentation": {"size": [12, 8], "counts": [96]}}, r"\[0\].segmentation.size: .* got 12 x 8"),
    ({"image_id": 4}, r"\[0\].image_id: no image has the id 4"),
    ({"category_id": 2}, r"\[0\].category_id: unknown category 2"),
    ({"score": "high"}, r"\[0\].score: expected a finite number, got text 'high'"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_a_wrong_result_is_told_and_can_be_left_out(change: dict[str, Any], message: str, files: Path) -> None:
    wrong = results()
    wrong[0].update(change)
    (files / "results.json").write_text(json.dumps(wrong))
    with pytest.raises(DataError, match=message):
        read_annotations(files / "results.json", image_info=files / "info.json", min_score=0)
    listener = Listener(drop_invalid=True)
    reading = read_annotations(files / "results.json", listener, image_info=files / "info.json", min_score=0)
    assert [one.id for one in reading.dataset.images[0].instances] == [2]
    assert len(listener.errors) == 1


def test_a_list_needs_image_info_and_image_info_a_list(files: Path) -> None:
    with pytest.raises(DataError, match=r"results.json: .* got a list; .* complete and render, with --image-info"):
        read_annotations(files / "results.json")
    with pytest.raises(DataError, match=r"coco.json: expected a list of detections"):
        read_annotations(files / "coco.json", image_info=files / "info.json")
    with pytest.raises(DataError, match=r"results.json: expected an object, got a list"):
        read_annotations(files / "results.json", image_info=files / "results.json")
