"""Poses and cameras of annotations: the conventions of files and of the image frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import annotated
import pytest

from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.formats.registry import read_annotations, read_dataset
from shape3d_amodal.errors import DataError
from shape3d_amodal.structures import Pose

QUARTER = [0, -1, 0, 1, 0, 0, 0, 0, 1]


def posed(**image: Any) -> annotated.Document:
    document = annotated.own()
    document["images"][0] |= {"cam_K": [572.5, 0, 5.5, 0, 573.5, 3.5, 0, 0, 1], **image}
    document["annotations"][0] |= {"cam_R_m2c": QUARTER, "cam_t_m2c": [-24.5, 15, 1097]}
    return document


def read(folder: Path, document: annotated.Document) -> Any:
    (folder / "a.json").write_text(json.dumps(document))
    return read_dataset(folder / "a.json").images[0]


def test_the_middle_of_an_image_is_the_middle_of_its_frame(tmp_path: Path) -> None:
    """Of 12 x 8 pixels those in the middle are 5 | 6 and 3 | 4, so that BOP's centre is (5.5, 3.5); ours is (6, 4)."""
    image = read(tmp_path, posed())
    assert image.intrinsics == (572.5, 573.5, 6.0, 4.0)
    assert image.instances[0].pose == Pose(tuple(QUARTER), (-24.5, 15, 1097))
    assert image.instances[1].pose is None


def test_both_are_written_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(posed()))
    reading = read_annotations(tmp_path / "a.json")
    assert reading.unread == ()
    write_coco_amodal(tmp_path / "b.json", reading.dataset)
    again = json.loads((tmp_path / "b.json").read_text())
    assert again["images"][0]["cam_K"] == posed()["images"][0]["cam_K"]
    assert {key: again["annotations"][0][key] for key in ("cam_R_m2c", "cam_t_m2c")} == {
        "cam_R_m2c": QUARTER,
        "cam_t_m2c": [-24.5, 15, 1097],
    }
    assert "cam_R_m2c" not in again["annotations"][1]


@pytest.mark.parametrize(
    "matrix",
    [
        [5, 0.1, 5, 0, 5, 5, 0, 0, 1],  # pixels that are no rectangles
        [5, 0, 5, 0, 5, 5, 0, 0, 2],
        [-5, 0, 5, 0, 5, 5, 0, 0, 1],
        [5, 0, 0, 0, 5, 0, 5, 5, 1],  # column by column
    ],
)
def test_other_cameras_are_refused(tmp_path: Path, matrix: list[float]) -> None:
    with pytest.raises(DataError, match=r"images\[0\].cam_K: expected a camera matrix \[fx, 0, cx"):
        read(tmp_path, posed(cam_K=matrix))


@pytest.mark.parametrize(
    ("rotation", "translation", "message"),
    [
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0), "expected 9 and 3 finite numbers"),
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, float("nan")), "expected 9 and 3 finite numbers"),
        ((1, 0, 0, 0, 1, 0, 0, 0, -1), (0, 0, 0), "expected a rotation"),  # a mirror
        ((2, 0, 0, 0, 2, 0, 0, 0, 2), (0, 0, 0), "expected a rotation"),
        ((1, 0, 0, 0, 1, 0, 0, 1, 0), (0, 0, 0), "expected a rotation"),
    ],
)
def test_what_is_no_pose_is_refused(rotation: Any, translation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pose(rotation, translation)


def test_published_rotations_are_rounded() -> None:
    """One of LM-O, with 8 digits: its rows are orthogonal to within 1e-7."""
    published = (0.89556014, 0.43540977, 0.09319581, 0.43772791, -0.82255369, -0.36341162, -0.08157829, 0.36621224)
    assert Pose((*published, -0.92709042), (0, 0, 1)).rotation[:8] == published
