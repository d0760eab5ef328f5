"""``complete`` with the very CAD file of an object, from the picture of a known camera to the scores of its pose."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from boxes import PARTS, box_mesh, write_obj
from PIL import Image

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.results import AmodalResult, read_results
from shape3d_amodal.cli import main
from shape3d_amodal.meshes.mesh import Mesh
from shape3d_amodal.rendering.posed import PosedModel, silhouettes
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category, Pose

HEIGHT, WIDTH = 120, 160
CAMERA = (220.0, 220.0, 80.0, 60.0)
UNIT, CENTRE = 800.0, np.array([30.0, 250.0, -40.0], np.float32)
"""The chair's file is in millimetres, and its middle is not the origin."""


def turn(azimuth: float, elevation: float) -> np.ndarray:
    """From the object frame (y up, front +z) to the camera's, degrees."""
    a, e = np.radians([azimuth, elevation])
    about_up = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(e), -np.sin(e)], [0, np.sin(e), np.cos(e)]])
    return np.diag([1.0, -1.0, -1.0]) @ tilt @ about_up


ROTATION = turn(35, 20)
POSE = Pose(tuple(ROTATION.ravel().tolist()), tuple(([-40.0, 60.0, 2600.0] - ROTATION @ CENTRE).tolist()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of a chair behind a bar; the annotations of the first alone say what the camera is."""
    mesh = box_mesh(PARTS["chair/one_arm"])
    verts = mesh.verts * np.float32(UNIT) + CENTRE
    write_obj(tmp_path / "shapes" / "chair" / "chair.obj", Mesh("chair", "chair", verts, mesh.faces, mesh.colors))
    ((whole,), _) = silhouettes([PosedModel(verts, mesh.faces, POSE)], CAMERA, HEIGHT, WIDTH)
    bar = np.zeros_like(whole)
    bar[66:76] = True
    chair = AmodalInstance(
        id=1, category_id=1, visible=masks.encode(whole & ~bar), amodal=masks.encode(whole), pose=POSE
    )
    front = AmodalInstance(id=2, category_id=2, visible=masks.encode(bar))
    first = AmodalImage(
        id=1, file_name="a.png", width=WIDTH, height=HEIGHT, instances=(chair, front), intrinsics=CAMERA
    )
    others = tuple(replace(one, id=one.id + 2) for one in first.instances)
    second = replace(first, id=2, instances=others, intrinsics=None)
    categories = (Category(1, "chair"), Category(2, "occluder"))
    write_coco_amodal(tmp_path / "truth.json", AmodalDataset(images=(first, second), categories=categories))
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    return tmp_path


def complete(folder: Path, *more: str) -> list[AmodalResult]:
    files = ["--images", str(folder), "--annotations", str(folder / "truth.json"), "--meshes", str(folder / "shapes")]
    assert main(["complete", *files, "--exact-shapes", "--out", str(folder / "results.json"), *more]) == 0
    return read_results(folder / "results.json")


def overall(folder: Path, track: str, *more: str) -> dict[str, float]:
    command = ["evaluate", str(folder / "results.json"), "--annotations", str(folder / "truth.json"), "--track", track]
    assert main([*command, "--out", str(folder / "scores"), *more]) == 0
    return json.loads((folder / "scores" / f"{track}.json").read_text())["results"]["overall"]


def test_the_pose_of_the_file_is_found_where_the_camera_is_known(folder: Path, capsys) -> None:
    first, second = complete(folder)
    assert "2 objects in 2 images; results in" in (line := capsys.readouterr().out)
    assert line.endswith("results.json, 1 pose of CAD files (cam_R_m2c, cam_t_m2c)\n")
    assert first.pose is not None and second.pose is None
    assert first.model == second.model == "chair/chair.obj"
    angle = np.degrees(np.arccos((np.trace(np.array(first.pose.rotation).reshape(3, 3) @ ROTATION.T) - 1) / 2))
    assert angle < 2
    np.testing.assert_allclose(np.array(first.pose.translation), POSE.translation, atol=0.05 * UNIT)


def test_a_typed_camera_is_that_of_the_other_images(folder: Path) -> None:
    """Twice the focal length, and half a pixel less as OpenCV counts: twice as far away."""
    first, second = complete(folder, "--intrinsics", "440,440,79.5,59.5")
    assert first.pose is not None and second.pose is not None
    assert first.pose.translation[2] == pytest.approx(POSE.translation[2], rel=0.02)
    middle = np.array(second.pose.rotation).reshape(3, 3) @ CENTRE + second.pose.translation
    assert middle[2] == pytest.approx(2 * 2600, rel=0.05)
    # At the true camera both are right, by the pose track, whose annotations need a camera for MSPD alone.
    complete(folder, "--intrinsics", "220,220,79.5,59.5")
    scores = overall(folder, "pose", "--meshes", str(folder / "shapes"))
    assert scores["add_recall"] == 1 and scores["mssd_recall"] > 0.8 and scores["posed_miou"] > 0.96


def test_render_draws_the_shape_from_any_side_that_it_may_be_seen_from(folder: Path) -> None:
    files = ["--images", str(folder), "--annotations", str(folder / "truth.json"), "--meshes", str(folder / "shapes")]
    command = ["render", *files, "--limit", "1", "--turntable", "2", "--views", "tabletop", "--exact-shapes"]
    assert main([*command, "--out", str(folder / "drawn")]) == 0
    assert Image.open(folder / "drawn" / "1_1_turntable.png").size == (320, 160)
    mesh = trimesh.load(folder / "drawn" / "1_1.glb", force="mesh")
    scene = trimesh.load(folder / "drawn" / "1_scene.glb", force="mesh")
    middle = ROTATION @ CENTRE + np.array(POSE.translation)
    np.testing.assert_allclose(scene.bounds.mean(axis=0), middle * [1, -1, -1], atol=0.1 * UNIT)
    assert not (folder / "drawn" / "2_scene.glb").exists(), "of one image"
    assert len(mesh.faces) == len(box_mesh(PARTS["chair/one_arm"]).faces)


def test_several_answers_are_for_the_multimodal_track_alone(folder: Path, capsys) -> None:
    alone = complete(folder)
    found = complete(folder, "--hypotheses", "3")
    whole = [one for one in found if one.chance is None]
    answers = [one for one in found if one.chance is not None]
    assert whole == alone
    assert 2 <= len(answers) <= 6 and {one.annotation_id for one in answers} == {1, 3}
    more = f"results in {folder / 'results.json'}, with {len(answers)} answers beside, 1 pose of CAD files"
    assert f"2 objects in 2 images; {more}" in capsys.readouterr().out
    for one in whole:
        own = [other for other in answers if other.annotation_id == one.annotation_id]
        chances = [other.chance for other in own if other.chance is not None]
        assert chances == sorted(chances, reverse=True) and sum(chances) <= 1 + 1e-6
        assert [other.score for other in own] == pytest.approx([one.score * chance for chance in chances])
        assert all(other.pose is None and other.model is None and other.visible == one.visible for other in own)
    several = overall(folder, "multimodal")
    assert several["samples"] == len(answers) and several["best_miou"] > 0.95
    assert overall(folder, "completion")["miou"] > 0.95
