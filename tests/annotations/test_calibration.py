"""KITTI's calibration files: the camera of the left colour images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_masks import drawn_dataset, write_drawn

from shape3d_amodal.annotations.calibration import read_calibration, with_calibration
from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.cli import main
from shape3d_amodal.crops.annotated.pool import open_annotated_pool
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.errors import DataError, UsageError

P2 = (
    "7.215377000000e+02 0.000000000000e+00 6.095593000000e+02 4.485728000000e+01 0.000000000000e+00 "
    "7.215377000000e+02 1.728540000000e+02 2.163791000000e-01 0.000000000000e+00 0.000000000000e+00 "
    "1.000000000000e+00 2.745884000000e-03"
)
TEXT = f"P0: {P2.replace('7.21', '1.21')}\nP1: 1 2\nP2: {P2}\nP3: 3\nR0_rect: 9.9e-01\n\n"
CAMERA = (721.5377, 721.5377, 610.0593, 173.354)


def test_the_camera_of_the_left_colour_images(tmp_path: Path) -> None:
    """A point straight ahead is seen at (609.56, 172.85) where centres count as whole numbers."""
    (tmp_path / "000003.txt").write_text(TEXT)
    assert read_calibration(tmp_path / "000003.txt") == pytest.approx(CAMERA)


@pytest.mark.parametrize(
    "text", ["", "P2: 1 2 3", f"P2: {P2.replace('6.09', 'x')}", f"P2: {P2.replace('7.21', '-7.21')}"]
)
def test_files_without_such_a_camera(text: str, tmp_path: Path) -> None:
    (tmp_path / "000003.txt").write_text(text)
    with pytest.raises(DataError, match=r"000003\.txt: P2: expected a line P2: with 12 numbers"):
        read_calibration(tmp_path / "000003.txt")


def test_images_get_their_own(tmp_path: Path) -> None:
    dataset = drawn_dataset(images=2)
    (tmp_path / "1.txt").write_text(TEXT)
    without, with_one = with_calibration(dataset, tmp_path).images
    assert without == dataset.images[0]
    assert with_one.intrinsics == pytest.approx(CAMERA)
    with pytest.raises(DataError, match=r"expected calibration files of the images, such as 0\.txt, found none"):
        with_calibration(replace(dataset, images=dataset.images[:1]), tmp_path)
    with pytest.raises(DataError, match=r"nowhere: expected the folder calib .*, there is no such folder"):
        with_calibration(dataset, tmp_path / "nowhere")


def test_crops_and_converted_files_hold_them(tmp_path: Path) -> None:
    annotations = write_drawn(tmp_path / "set", drawn_dataset(images=2))
    calib = tmp_path / "calib"
    calib.mkdir()
    (calib / "1.txt").write_text(TEXT)
    crops = CropsConfig(annotations=str(annotations), images=str(tmp_path / "set" / "images"), size=16)
    bare = open_annotated_pool(crops, tmp_path, workers=0)
    pool = open_annotated_pool(replace(crops, calibration=str(calib)), tmp_path, workers=0)
    assert np.isnan(bare.intrinsics).all() and np.isnan(pool.intrinsics[pool.scene == 0]).all()
    np.testing.assert_allclose(pool.intrinsics[pool.scene == 1], [CAMERA] * int((pool.scene == 1).sum()))
    out = tmp_path / "out.json"
    assert (
        main(
            ["data", "convert", str(annotations), "--to", "coco_amodal", "--out", str(out), "--calibration", str(calib)]
        )
        == 0
    )
    told = [image.intrinsics for image in read_dataset(out).images]
    assert told[0] is None and told[1] == pytest.approx(CAMERA)
    with pytest.raises(UsageError, match="calibration: expected an annotation file with it"):
        CropsConfig(calibration=str(calib))
