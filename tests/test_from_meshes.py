"""Whole masks by known shapes, from files to the image: ``ShapePriorPipeline.from_meshes``."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from boxes import ARMCHAIR, PARTS, box_mesh, write_obj
from pinhole import iou, turned, view
from scipy.spatial.transform import Rotation

from shape3d_amodal.geometry.windows import instance_window
from shape3d_amodal.meshes.mesh import Mesh
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.priors.bank import prior as prior_module
from shape3d_amodal.refinement.modes import Refine
from shape3d_amodal.structures import OCCLUDER

SEEN = view(-50, 18, distance=3, place=(0.05, 0.04), pixels=80)
CHAIR = box_mesh(ARMCHAIR)
TRUTH = SEEN.mask(CHAIR)
BAR = np.zeros_like(TRUTH)
BAR[62:92, 30:130] = True
VISIBLE = TRUTH & ~BAR
IMAGE = np.zeros((*TRUTH.shape, 3), np.uint8)


@pytest.fixture(scope="module")
def pipeline(box_folder: Path) -> ShapePriorPipeline:
    return ShapePriorPipeline.from_meshes(box_folder)


@pytest.mark.parametrize("camera_known", [False, True])
def test_what_is_hidden_is_completed(pipeline: ShapePriorPipeline, camera_known: bool) -> None:
    (chair,) = pipeline.complete(
        IMAGE, [VISIBLE, BAR], ["chair", OCCLUDER], intrinsics=SEEN.camera if camera_known else None
    )
    assert iou(VISIBLE, TRUTH) < 0.75 and iou(chair.amodal, TRUTH) > 0.94
    assert chair.amodal[VISIBLE].all() and not chair.amodal[~(VISIBLE | BAR)].any()
    assert 0.5 < chair.score < 1 and len(chair.verts) > 20
    assert (chair.pose is not None) == camera_known


@pytest.mark.parametrize("refine", ["visible-union", "none"])
def test_masks_reach_beyond_the_crop(box_folder: Path, refine: Refine) -> None:
    """All but the top of a bench is hidden, and it is longer than the crop's window: it is drawn there, too."""
    seen = view(110, 35, distance=3, place=(0.05, 0.04), pixels=90, height=200, width=260)
    truth = seen.mask(box_mesh(PARTS["sofa/bench"]))
    rows = np.nonzero(truth.any(axis=1))[0]
    bar = np.zeros_like(truth)
    bar[rows[0] + round(0.2 * len(rows)) :] = True
    visible = truth & ~bar
    beyond = truth.copy()
    x0, y0, x1, y1 = instance_window(visible, bar)
    beyond[math.floor(y0) : math.ceil(y1), math.floor(x0) : math.ceil(x1)] = False
    assert beyond.sum() > 0.05 * truth.sum()
    pipeline = ShapePriorPipeline.from_meshes(box_folder, exact_shapes=True, hypotheses=2, refine=refine)
    picture = np.zeros((*truth.shape, 3), np.uint8)
    (bench,) = pipeline.complete(picture, [visible, bar], ["sofa", OCCLUDER], intrinsics=seen.camera)
    assert iou(bench.amodal, truth) > 0.88
    for mask in (bench.amodal, bench.hypotheses[0][0], bench.silhouette):
        assert (mask & beyond).sum() > 0.35 * beyond.sum()
    assert bench.window[2] - bench.window[0] > x1 - x0, "what is said of the viewpoint is said in the larger window"
    assert (bench.amodal & ~(visible | bar)).sum() < 0.02 * truth.sum()


def test_poses_are_those_of_files_in_their_own_units(tmp_path: Path) -> None:
    """The chair in millimetres, away from the origin: its pose moves the file's points to where they were seen."""
    moved = CHAIR.verts * 900 + np.array([30, 400, -20], np.float32)
    write_obj(tmp_path / "chair" / "a.obj", Mesh("a", "chair", moved, CHAIR.faces, CHAIR.colors))
    pipeline = ShapePriorPipeline.from_meshes(tmp_path, exact_shapes=True)
    (chair,) = pipeline.complete(IMAGE, [VISIBLE, BAR], ["chair", OCCLUDER], intrinsics=SEEN.camera)
    turn = np.array(chair.pose.rotation).reshape(3, 3)
    assert np.degrees(Rotation.from_matrix(turn @ turned(-50, 18).T).magnitude()) < 2
    found = moved @ turn.T + np.array(chair.pose.translation)
    expected = (CHAIR.verts @ SEEN.rotation.T + np.array(SEEN.translation)) * 900
    fx, fy, cx, cy = SEEN.camera
    flat, truth = (points[:, :2] / points[:, 2:] * [fx, fy] + [cx, cy] for points in (found, expected))
    assert np.abs(flat - truth).max() < 2.5
    assert np.linalg.norm(found - expected, axis=1).max() < 0.08 * expected[:, 2].max()


def test_the_file_that_was_chosen_is_named_and_its_mesh_can_be_put_before_the_camera(tmp_path: Path) -> None:
    """Of a stool and a chair in millimetres; what the mesh covers there is what is seen."""
    moved = CHAIR.verts * 900 + np.array([30, 400, -20], np.float32)
    write_obj(tmp_path / "chair" / "wing.obj", Mesh("a", "chair", moved, CHAIR.faces, CHAIR.colors))
    write_obj(tmp_path / "chair" / "stool.obj", box_mesh(PARTS["chair/four_legs"][:1]))
    pipeline = ShapePriorPipeline.from_meshes(tmp_path, exact_shapes=True)
    (chair,) = pipeline.complete(IMAGE, [VISIBLE, BAR], ["chair", OCCLUDER], intrinsics=SEEN.camera)
    assert chair.model == "chair/wing.obj" and chair.to_camera is not None
    placed = np.c_[chair.verts, np.ones(len(chair.verts))] @ chair.to_camera.T
    of_file = moved @ np.array(chair.pose.rotation).reshape(3, 3).T + chair.pose.translation
    np.testing.assert_allclose(placed[:, :3], of_file, atol=0.01)
    (unseen,) = pipeline.complete(IMAGE, [VISIBLE, BAR], ["chair", OCCLUDER])
    assert unseen.model == "chair/wing.obj" and unseen.to_camera is None


@pytest.mark.parametrize("exact", [False, True])
def test_shapes_that_are_known_to_be_exact_are_never_deformed(
    box_folder: Path, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that none of them explains: a bar of a sofa's category, three times as long as it is high."""
    fits = []
    monkeypatch.setattr(prior_module, "optimize", lambda *_, **__: fits.append(1) or torch.ones(4))
    mask = np.zeros_like(TRUTH)
    mask[20:100, 70:80] = True
    (one,) = ShapePriorPipeline.from_meshes(box_folder, exact_shapes=exact).complete(IMAGE, [mask], ["sofa"])
    assert bool(fits) != exact
    assert one.amodal[mask].all()


def test_likely_answers(box_folder: Path) -> None:
    pipeline = ShapePriorPipeline.from_meshes(box_folder, hypotheses=4)
    hiding = np.zeros_like(TRUTH)
    hiding[:, 75:] = True
    visible = SEEN.mask(box_mesh(PARTS["dresser/box"])) & ~hiding
    (dresser,) = pipeline.complete(IMAGE, [visible, hiding], ["dresser", OCCLUDER])
    masks, chances = zip(*dresser.hypotheses, strict=True)
    assert 1 <= len(masks) <= 4
    assert list(chances) == sorted(chances, reverse=True) and sum(chances) <= 1 + 1e-5
    for mask in masks:
        assert mask[visible].all() and not mask[~(visible | hiding)].any()


@pytest.mark.parametrize("views", ["upright", "all"])
def test_how_objects_may_stand(box_folder: Path, views: str) -> None:
    """A chair that lies on its side is found among all rotations alone."""
    seen = view(40, 20, 90, distance=3, pixels=80)
    truth = seen.mask(CHAIR)
    bar = np.zeros_like(truth)
    bar[:, 95:] = True
    pipeline = ShapePriorPipeline.from_meshes(box_folder, views=views, exact_shapes=True)
    (chair,) = pipeline.complete(IMAGE, [truth & ~bar, bar], ["chair", OCCLUDER], intrinsics=seen.camera)
    assert (iou(chair.amodal, truth) > 0.93) == (views == "all")
