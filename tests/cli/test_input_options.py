"""What ``complete`` and ``predict`` make of turned and linked pictures, of plain COCO, and of a detector's results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exif_files
import numpy as np
import pytest
from PIL import Image
from tiny import tiny_model

from shape3d_amodal.cli import main
from shape3d_amodal.pipeline import ShapePriorPipeline

UPRIGHT = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
BOXES = {1: (10, 20, 40, 40), 2: (40, 15, 60, 45)}
IMAGES = [{"id": 7, "file_name": "a.png", "width": 80, "height": 60}]
CATEGORIES = [{"id": 3, "name": "chair"}, {"id": 4, "name": "table"}]
Complete = Callable[..., list[dict[str, Any]]]


def polygon(box: tuple[int, int, int, int]) -> list[list[int]]:
    left, top, right, bottom = box
    return [[left, top, right, top, right, bottom, left, bottom]]


def stored(upright: np.ndarray, tag: int) -> np.ndarray:
    """The pixels that a file of the orientation ``tag`` stores, of what one sees."""
    height, width = upright.shape[:2]
    rows, columns = (width, height) if tag >= 5 else (height, width)
    places = [[exif_files.place(tag, row, column, rows, columns) for column in range(columns)] for row in range(rows)]
    return upright[tuple(np.array(places).transpose(2, 0, 1))]


def turned(tag: int) -> bytes:
    return exif_files.png(stored(UPRIGHT, tag), exif_files.chunk(b"eXIf", exif_files.exif(tag)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    ShapePriorPipeline.from_model(tiny_model()).save_pretrained(folder)
    return folder


@pytest.fixture
def complete(tmp_path: Path, weights: Path) -> Complete:
    """Run ``complete`` on a document of annotations and an image file; returns the results."""
    (tmp_path / "images").mkdir()

    def run(document: Any, *more: str, image: bytes = turned(1)) -> list[dict[str, Any]]:
        (tmp_path / "images" / "a.png").unlink(missing_ok=True)
        (tmp_path / "images" / "a.png").write_bytes(image)
        (tmp_path / "a.json").write_text(json.dumps(document))
        arguments = ["--images", str(tmp_path / "images"), "--annotations", str(tmp_path / "a.json")]
        out = tmp_path / "out.json"
        assert main(["complete", *arguments, "--weights", str(weights), "--out", str(out), *more]) == 0
        found: list[dict[str, Any]] = json.loads(out.read_text())
        return found

    return run


def annotated(key: str) -> dict[str, Any]:
    annotations = [{"id": i, "image_id": 7, "category_id": 2 + i, key: polygon(box)} for i, box in BOXES.items()]
    return {"images": IMAGES, "categories": CATEGORIES, "annotations": annotations}


@pytest.mark.parametrize("tag", range(2, 9))
def test_complete_sees_the_same_picture_whichever_way_it_is_stored(tag: int, complete: Complete) -> None:
    expected = complete(annotated("visible_mask"))
    assert len(expected) == 2
    assert complete(annotated("visible_mask"), image=turned(tag)) == expected


def test_complete_takes_the_stored_pixels_where_it_is_told(complete: Complete) -> None:
    lying = exif_files.png(UPRIGHT, exif_files.chunk(b"eXIf", exif_files.exif(6)))
    expected = complete(annotated("visible_mask"))
    assert complete(annotated("visible_mask"), "--orientation", "stored", image=lying) == expected


def test_complete_starts_from_plain_coco(complete: Complete) -> None:
    expected = complete(annotated("visible_mask"))
    assert complete(annotated("segmentation"), "--segmentation", "visible") == expected


def test_complete_starts_from_the_results_of_a_detector(
    complete: Complete, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = complete(annotated("visible_mask"))
    (tmp_path / "info.json").write_text(json.dumps({"images": IMAGES, "categories": CATEGORIES}))
    found = [
        {"image_id": 7, "category_id": 2 + i, "score": 0.9, "segmentation": polygon(box)} for i, box in BOXES.items()
    ]
    found.append({"image_id": 7, "category_id": 3, "score": 0.1, "segmentation": polygon((0, 0, 80, 60))})
    assert complete(found, "--image-info", str(tmp_path / "info.json")) == expected
    assert "1 below --min-score 0.5" in capsys.readouterr().out
    assert len(complete(found, "--image-info", str(tmp_path / "info.json"), "--min-score", "0")) == 3


def test_linked_pictures_of_annotations_need_the_option(
    complete: Complete, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = complete(annotated("visible_mask"))
    (tmp_path / "blobs").mkdir()
    (tmp_path / "images" / "a.png").rename(tmp_path / "blobs" / "abc")
    (tmp_path / "images" / "a.png").symlink_to("../blobs/abc")
    arguments = ["--images", str(tmp_path / "images"), "--annotations", str(tmp_path / "a.json")]
    for command in ("complete", "render"):
        out = tmp_path / f"{command}.json"
        line = [command, *arguments, "--weights", str(weights), "--out", str(out)]
        assert main(line) == 3
        assert "--allow-links" in capsys.readouterr().err
        assert main([*line, "--allow-links", str(tmp_path / "blobs")]) == 0
    assert json.loads((tmp_path / "complete.json").read_text()) == expected


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--segmentation", "visible", "--image-info", "b.json"], "--segmentation"),
        (["--min-score", "2"], "--min-score: expected a number from 0 to 1"),
        (["--allow-links", "nowhere"], "--allow-links: expected a folder"),
    ],
)
def test_options_that_cannot_be_are_one_line(
    options: list[str], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "b.json"
    file.write_text("not JSON: it is not read")
    options = [str(file) if one == "b.json" else one for one in options]
    line = ["complete", "--images", str(tmp_path), "--annotations", str(file), "--out", str(tmp_path / "o.json")]
    assert main([*line, *options]) == 2
    err = capsys.readouterr().err
    assert part in err and err.count("\n") == 1


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a detector that always finds something."""
    pytest.importorskip("detectron2")
    from dataclasses import replace

    import torch
    from rcnn_small import small_config, small_rcnn

    from shape3d_amodal.config import dump_config
    from shape3d_amodal.files.weights import save_weights

    folder = tmp_path_factory.mktemp("detector") / "both"
    config = small_config(masks="both")
    config = replace(config, detector=replace(config.detector, categories=("car", "chair", "stool")))
    model = small_rcnn(masks="both")
    with torch.no_grad():
        model.box_predictor.cls_score.bias.copy_(torch.tensor([1.0, 1.2, 1.1, 0.0]))
        for branch in model.mask_head.branches.values():
            branch.predictor.bias.fill_(1.0)
    save_weights(folder, dump_config(config), model.state_dict())
    return folder


def predicted(folder: Path, weights: Path, detector: Path, *more: str) -> dict[int, list[dict[str, Any]]]:
    """The results of ``predict`` by image, without the image's number."""
    options = ["--detector", str(detector), "--weights", str(weights), "--min-score", "0.2", "--no-drawings"]
    out = folder.parent / f"predicted-{folder.name}"
    assert main(["predict", str(folder), *options, "--out", str(out), *more]) == 0
    found: dict[int, list[dict[str, Any]]] = {}
    for one in json.loads((out / "results.json").read_text()):
        found.setdefault(one.pop("image_id"), []).append(one)
    return found


def test_predict_sees_the_same_picture_whichever_way_it_is_stored(
    weights: Path, detector: Path, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    for tag in range(1, 9):
        (tmp_path / "images" / f"{tag}.png").write_bytes(turned(tag))
    found = predicted(tmp_path / "images", weights, detector)
    assert list(found) == [*range(1, 9)]
    assert all(found[tag] == found[1] for tag in range(2, 9))
    assert found[1][0]["segmentation"]["size"] == [60, 80]
    lying = predicted(tmp_path / "images", weights, detector, "--orientation", "stored")
    assert lying[6][0]["segmentation"]["size"] == [80, 60]


def test_predict_reads_links_that_the_user_names_and_those_in_a_folder_that_he_names(
    weights: Path, detector: Path, tmp_path: Path
) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "images").mkdir()
    Image.fromarray(UPRIGHT).save(tmp_path / "blobs" / "abc", "PNG")
    (tmp_path / "images" / "a.png").symlink_to("../blobs/abc")
    folder = predicted(tmp_path / "images", weights, detector)
    assert list(folder) == [1] and folder[1]
    (tmp_path / "linked").symlink_to("images")
    assert predicted(tmp_path / "linked", weights, detector) == folder
    assert predicted(tmp_path / "images" / "a.png", weights, detector) == folder


@pytest.mark.parametrize("kind", ["plain COCO", "images alone"])
def test_predict_needs_no_masks_of_the_annotations(kind: str, weights: Path, detector: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(turned(1))
    document = annotated("segmentation")
    if kind == "images alone":
        del document["annotations"]
    (tmp_path / "a.json").write_text(json.dumps(document))
    found = predicted(tmp_path / "images", weights, detector, "--annotations", str(tmp_path / "a.json"))
    assert list(found) == [7] and {one["category_id"] for one in found[7]} == {3}
