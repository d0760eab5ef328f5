"""Streets in the form of KINS 2020, read back by the reader of KINS."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from boxes import PARTS, box_mesh, write_obj
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.kins import CLASSES
from shape3d_amodal.annotations.formats.registry import read_annotations
from shape3d_amodal.annotations.images import ImageFiles
from shape3d_amodal.cli import main
from shape3d_amodal.meshes.mesh import Mesh
from shape3d_amodal.scenes.compose import Scene
from shape3d_amodal.scenes.layout import PlacedObject, stand
from shape3d_amodal.scenes.street import EYE, FOCAL, Street, make_street
from shape3d_amodal.structures import AmodalImage

HEIGHT, WIDTH, FRAMES = 120, 400, 6
SMALL = ["--set", f"height={HEIGHT}", "--set", f"width={WIDTH}"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kins")
    shapes = list(PARTS.values())
    for category, parts in zip(("car", "train", "airplane", "truck", "chair"), shapes, strict=False):
        write_obj(root / "meshes" / category / "one.obj", box_mesh(parts))
    command = ["scenes", "--layout", "kins", "--meshes", str(root / "meshes"), "--count", str(FRAMES), "--seed", "2"]
    assert main([*command, "--out", str(root / "out"), *SMALL]) == 0
    assert main([*command, "--out", str(root / "out")]) == 2  # holds scenes already
    return root


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--set", "deform=1000"], "deform: input should be less than or equal to 2"),
        (["--workers", "2"], "go with shards, got the layout kins; leave them out"),
    ],
)
def test_options_that_streets_do_not_take(tmp_path: Path, capsys, options: list[str], problem: str) -> None:
    assert main(["scenes", "--layout", "kins", "--count", "1", "--out", str(tmp_path / "out"), *options]) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def images(folder: Path) -> tuple[AmodalImage, ...]:
    return read_annotations(folder / "update_train_2020.json").dataset.images


def pixels(image: AmodalImage) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Amodal and visible masks [N,H,W]."""
    amodal = [one.amodal for one in image.instances if one.amodal is not None]
    visible = [masks.decode(one.visible) for one in image.instances]
    return np.stack([masks.decode(one) for one in amodal]), np.stack(visible)


def test_the_file_is_kins_2020(written: Path) -> None:
    content = json.loads((written / "out" / "update_train_2020.json").read_text())
    assert [one["name"] for one in content["categories"]] == list(CLASSES)
    assert [one["id"] for one in content["categories"]] == list(range(1, 9))
    assert {"a_segm", "a_bbox", "i_segm", "i_bbox", "oco_id", "ico_id"} <= content["annotations"][0].keys()
    names = {CLASSES[one["category_id"] - 1] for one in content["annotations"]}
    assert {"car", "van"} <= names <= {"car", "tram", "misc", "truck", "van"}  # no chair; a tall car is a van


def test_pictures_are_wide_and_full(written: Path) -> None:
    file = written / "out" / "update_train_2020.json"
    reading = read_annotations(file)
    assert reading.format.name == "kins2020"
    assert reading.unread == ()
    files = ImageFiles(written / "out" / "images", file)
    assert {files.read(image).shape for image in reading.dataset.images} == {(HEIGHT, WIDTH, 3)}
    assert len(reading.dataset.images) == FRAMES
    assert np.mean([len(image.instances) for image in reading.dataset.images]) > 4


def test_a_pixel_is_of_one_object_and_of_its_amodal_mask(written: Path) -> None:
    for image in images(written / "out"):
        amodal, visible = pixels(image)
        assert not (visible & ~amodal).any()
        assert visible.sum(axis=0).max() == 1
        assert visible.any(axis=(1, 2)).all()


def test_orders_are_those_of_the_depths(written: Path) -> None:
    """Of two objects that overlap, both are in one cluster, and the nearer one has the smaller order."""
    overlaps = 0
    for image in images(written / "out"):
        amodal, visible = pixels(image)
        for i, one in enumerate(image.instances):
            for j, other in enumerate(image.instances):
                if i != j and (visible[i] & amodal[j]).any():
                    assert one.cluster == other.cluster
                    assert one.depth_order < other.depth_order
                    overlaps += 1
    assert overlaps >= FRAMES


@pytest.mark.parametrize("clutter", [0, 8])
def test_only_clutter_hides_without_an_annotation(written: Path, tmp_path: Path, clutter: int) -> None:
    command = ["scenes", "--layout", "kins", "--meshes", str(written / "meshes"), "--count", "3", *SMALL]
    assert main([*command, "--set", f"clutter={clutter}", "--out", str(tmp_path / "out")]) == 0
    unexplained = 0
    for image in images(tmp_path / "out"):
        amodal, visible = pixels(image)
        unexplained += int((amodal & ~visible & ~visible.any(axis=0)).sum())
    assert (unexplained > 200) == (clutter > 0)


def test_a_picture_does_not_depend_on_the_others(written: Path, tmp_path: Path) -> None:
    command = ["scenes", "--layout", "kins", "--meshes", str(written / "meshes"), "--count", "2", "--seed", "2"]
    assert main([*command, "--out", str(tmp_path / "out"), *SMALL]) == 0
    for name in ("000000.png", "000001.png"):
        assert (tmp_path / "out" / "images" / name).read_bytes() == (written / "out" / "images" / name).read_bytes()


def cubes(seed: int) -> Scene:
    """A street of cubes of 2 m without yaw."""
    mesh = box_mesh([((-1, -1, -1), (1, 1, 1))])
    cube = Mesh("cube", "car", mesh.verts, mesh.faces, mesh.colors)

    def pick() -> tuple[str, PlacedObject]:
        extent = float(cube.verts[:, 0].max() - cube.verts[:, 0].min())
        return "car", stand(cube, cube.verts, size=2 / extent, yaw=0)

    return make_street(pick, Street(375, 1242, 8, 0, 6, 60), np.random.default_rng(seed))


def test_objects_are_where_a_camera_over_the_ground_sees_them() -> None:
    """The box of each cube's mask is that of its corners under the pinhole camera, unless the border cuts it."""
    whole = []
    for seed in range(4):
        scene = cubes(seed)
        pitch, focal = np.radians(scene.camera["elevation_deg"]), FOCAL * 1242
        for one in scene.instances:
            azimuth, elevation = (np.radians(one.viewpoint[f"{name}_deg"]) for name in ("azimuth", "elevation"))
            far = (EYE - 1) / np.tan(elevation)
            middle = -far * np.array([np.sin(azimuth), 0, np.cos(azimuth)]) + (0, 1, 0)
            corners = middle + np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, 8).T - (0, EYE, 0)
            depth = -np.cos(pitch) * corners[:, 2] - np.sin(pitch) * corners[:, 1]
            down = -np.cos(pitch) * corners[:, 1] + np.sin(pitch) * corners[:, 2]
            x, y = 621 + focal * corners[:, 0] / depth, 187.5 + focal * down / depth
            expected = np.array([x.min(), y.min(), x.max(), y.max()])
            rows, columns = np.nonzero(one.amodal.any(axis=1))[0], np.nonzero(one.amodal.any(axis=0))[0]
            found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            cut = (expected < 0) | (expected > (1242, 375, 1242, 375))
            if cut.any():
                np.testing.assert_array_equal(np.array(found)[cut], np.array((0, 0, 1242, 375))[cut])
            else:
                np.testing.assert_allclose(found, expected, atol=1.01)
            whole.append(not cut[[0, 2]].any())
    assert len(whole) / 2 < sum(whole) < len(whole)


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [([], 3, "expected vehicles"), (["--set", "nearest=9", "--set", "farthest=8"], 2, "farthest: expected more than")],
)
def test_what_cannot_be_made(
    box_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], status: int, words: str
) -> None:
    command = ["scenes", "--layout", "kins", "--count", "1", "--out", str(tmp_path / "out"), *options]
    assert main([*command, "--meshes", str(box_folder)]) == status
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
