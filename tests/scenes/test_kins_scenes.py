"""Scenes in the form of KINS 2020, read back by the reader of KINS."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from boxes import PARTS, box_mesh, write_obj

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.registry import read_annotations
from shape3d_amodal.annotations.images import ImageFiles
from shape3d_amodal.cli import main
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.scenes.compose import SceneConfig, make_scene
from shape3d_amodal.scenes.kins_like import CLASSES

SIZE, TILES, FRAMES = 64, 3, 4


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kins")
    shapes = list(PARTS.values())
    for category, parts in zip(("car", "train", "airplane", "van", "chair"), shapes, strict=False):
        write_obj(root / "meshes" / category / "one.obj", box_mesh(parts))
    command = ["scenes", "--layout", "kins", "--meshes", str(root / "meshes"), "--count", str(FRAMES), "--seed", "2"]
    assert main([*command, "--out", str(root / "out"), "--set", f"scenes.image_size={SIZE}"]) == 0
    assert main([*command, "--out", str(root / "out")]) == 2  # holds scenes already
    return root


def test_the_file_is_kins_2020(written: Path) -> None:
    content = json.loads((written / "out" / "update_train_2020.json").read_text())
    assert [one["name"] for one in content["categories"]] == list(CLASSES)
    assert [one["id"] for one in content["categories"]] == list(range(1, 9))
    assert {"a_segm", "a_bbox", "i_segm", "i_bbox", "oco_id", "ico_id"} <= content["annotations"][0].keys()
    names = {CLASSES[one["category_id"] - 1] for one in content["annotations"]}
    assert names == {"car", "tram", "misc", "van"}  # no chair


def test_frames_are_scenes_side_by_side(written: Path) -> None:
    file = written / "out" / "update_train_2020.json"
    reading = read_annotations(file)
    assert reading.format.name == "kins2020"
    assert reading.unread == ()
    source = mesh_source(str(written / "meshes")).only({"car", "train", "airplane", "van"})
    assert len(reading.dataset.images) == FRAMES
    for index, image in enumerate(reading.dataset.images):
        assert (image.height, image.width) == (SIZE, TILES * SIZE)
        pixels = ImageFiles(written / "out" / "images", file).read(image)
        drawn = [make_scene(source, SceneConfig(image_size=SIZE), 2, index * TILES + tile) for tile in range(TILES)]
        np.testing.assert_array_equal(pixels, np.concatenate([scene.image for scene in drawn], axis=1))
        expected = [(tile, one) for tile, scene in enumerate(drawn) for one in scene.instances]
        for instance, (tile, one) in zip(image.instances, expected, strict=True):
            for found, truth in ((instance.amodal, one.amodal), (instance.visible, one.visible)):
                assert found is not None
                mask = masks.decode(found)
                np.testing.assert_array_equal(mask[:, tile * SIZE : (tile + 1) * SIZE], truth)
                assert mask.sum() == truth.sum()


def test_orders_are_those_of_the_scenes(written: Path) -> None:
    """Of two objects that overlap, both are in one cluster, and the nearer one has the smaller order."""
    overlaps = 0
    for image in read_annotations(written / "out" / "update_train_2020.json").dataset.images:
        for one in image.instances:
            for other in image.instances:
                assert one.amodal is not None
                shared = masks.decode(one.visible) & masks.decode(other.amodal)
                if one is not other and shared.any():
                    assert one.cluster == other.cluster
                    assert one.depth_order < other.depth_order
                    overlaps += 1
    assert overlaps >= FRAMES


def test_no_vehicles(box_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["scenes", "--layout", "kins", "--count", "1", "--out", str(tmp_path / "out")]
    assert main([*command, "--meshes", str(box_folder)]) == 3
    assert "expected vehicles" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
