"""Where things stand, against plain geometry and PyTorch3D's camera and rasterizer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from boxes import ARMCHAIR, CHAIR, BoxMeshes, box_mesh
from pytorch3d.renderer import FoVPerspectiveCameras, MeshRasterizer, RasterizationSettings, look_at_view_transform
from pytorch3d.structures import Meshes

from shape3d_amodal.geometry.cameras import rotation
from shape3d_amodal.rendering.zbuffer import rasterize
from shape3d_amodal.scenes.layout import (
    Camera,
    PlacedObject,
    deform,
    look_at_target,
    place_around,
    place_in_front,
    stand,
)

SIZE = 96
SEEDS = range(12)


def armchair(yaw: float = 0.0, size: float = 1.0) -> PlacedObject:
    mesh = box_mesh(ARMCHAIR)
    return stand(mesh, mesh.verts, size, yaw)


def pytorch3d_camera(camera: Camera) -> FoVPerspectiveCameras:
    eye = camera.position
    forward = np.array([0, -math.sin(camera.elevation), -math.cos(camera.elevation)])
    R, T = look_at_view_transform(eye=eye[None].tolist(), at=(eye + forward)[None].tolist(), up=((0, 1, 0),))
    return FoVPerspectiveCameras(R=R, T=T, fov=2 * math.degrees(math.atan(camera.size / 2 / camera.focal)))


def test_objects_stand_upright_on_the_ground() -> None:
    placed = armchair(yaw=0.7, size=1.2)
    assert placed.low[1] == 0
    assert placed.verts.dtype == np.float32
    heights = placed.mesh.verts[:, 1] - placed.mesh.verts[:, 1].min()
    np.testing.assert_allclose(placed.verts[:, 1], 1.2 * heights, atol=1e-6)


def test_yaw_turns_from_front_to_right() -> None:
    """Turned by 90 degrees, what looked at the viewer (+z) looks to the right (+x); nothing is mirrored."""
    mesh = box_mesh(ARMCHAIR)
    turned = stand(mesh, mesh.verts, 1.0, math.pi / 2).verts
    np.testing.assert_allclose(turned[:, 0], mesh.verts[:, 2], atol=1e-6)
    np.testing.assert_allclose(turned[:, 2], -mesh.verts[:, 0], atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_camera_equals_pytorch3d(seed: int) -> None:
    rng = np.random.default_rng(seed)
    placed = armchair(yaw=rng.uniform(0, 6))
    camera = look_at_target(placed, SIZE, rng)
    expected = pytorch3d_camera(camera).transform_points_screen(
        torch.from_numpy(placed.verts), image_size=((SIZE, SIZE),)
    )
    np.testing.assert_allclose(camera.project(placed.verts)[:, :2], expected[:, :2], atol=0.02)
    depth = pytorch3d_camera(camera).get_world_to_view_transform().transform_points(torch.from_numpy(placed.verts))
    np.testing.assert_allclose(camera.project(placed.verts)[:, 2], depth[:, 2], atol=1e-4)
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_not_mirrored(seed: int) -> None:
    """A chair with one arm, drawn by PyTorch3D's rasterizer and by ours."""
    rng = np.random.default_rng(seed)
    placed = armchair(yaw=rng.uniform(-0.5, 0.5))
    camera = look_at_target(placed, SIZE, rng)
    settings = RasterizationSettings(image_size=SIZE, bin_size=0)
    mesh = Meshes(torch.from_numpy(placed.verts)[None], torch.from_numpy(placed.mesh.faces).long()[None])
    fragments = MeshRasterizer(cameras=pytorch3d_camera(camera), raster_settings=settings)(mesh)
    expected = (fragments.pix_to_face[0, ..., 0] >= 0).numpy()
    _, face = rasterize(camera.project(placed.verts), placed.mesh.faces, SIZE, SIZE)
    wrong = (expected != (face >= 0)).sum()
    wrong_if_mirrored = (expected[:, ::-1] != (face >= 0)).sum()
    assert wrong < 10
    assert wrong_if_mirrored > 100


def test_the_arm_is_on_the_right_of_the_picture() -> None:
    """Seen from its front, a chair's left arm is on the viewer's right."""
    camera = Camera(np.array([0.0, 0.3, 3.0]), 0.0, 200.0, SIZE)
    placed = armchair()
    _, face = rasterize(camera.project(placed.verts), placed.mesh.faces, SIZE, SIZE)
    arm = face >= len(box_mesh(CHAIR).faces)
    assert arm[:, SIZE // 2 :].sum() > 20
    assert not arm[:, : SIZE // 2].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_target_fills_its_share_of_the_picture(seed: int, boxes: BoxMeshes) -> None:
    """Diagonal over distance, times the focal length, is 35 to 65 % of the side, where the ground is not in the way."""
    rng = np.random.default_rng(seed)
    mesh = boxes.load(boxes.names[seed % len(boxes.names)])
    placed = stand(mesh, mesh.verts, 1.0, rng.uniform(0, 6))
    camera = look_at_target(placed, SIZE, rng)
    assert 4 <= math.degrees(camera.elevation) <= 35
    assert camera.position[1] >= 0.05
    depth = camera.project(((placed.low + placed.high) / 2)[None])[0, 2]
    diagonal = np.linalg.norm(placed.high - placed.low)
    assert 0.3 <= camera.focal * diagonal / depth / SIZE <= 0.7


def test_camera_as_plain_numbers() -> None:
    camera = Camera(np.array([1.0, 2.0, 3.0]), math.pi / 6, 90.0, 64)
    expected = {"position_x": 1, "position_y": 2, "position_z": 3, "elevation_deg": 30, "focal_px": 90}
    assert camera.to_dict() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("x", "z", "apart"),
    [
        (1.05, 0, False),
        (1.2, 0, True),
        (-1.2, 0, True),
        (0, 1.2, True),
        (0, -1.05, False),
        (0, -1.2, True),
        (0.5, 0.5, False),
    ],
)
def test_apart_from(x: float, z: float, apart: bool) -> None:
    """Cubes of side 1: a gap of more than 0.1 between their sides."""
    cube = box_mesh((((0, 0, 0), (1, 1, 1)),))
    still = stand(cube, cube.verts, math.sqrt(3), 0.0)
    moved = still.moved(x, z)
    assert still.apart_from(moved, 0.1) == apart
    assert moved.apart_from(still, 0.1) == apart


@pytest.mark.parametrize("seed", SEEDS)
def test_things_in_front_stand_between_target_and_camera(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, thing = armchair(yaw=rng.uniform(0, 6)), armchair(yaw=rng.uniform(0, 6))
    camera = look_at_target(target, SIZE, rng)
    moved = place_in_front(target, thing, camera, rng)
    assert 0.02 - 1e-5 <= moved.low[2] - target.high[2] <= 0.35 + 1e-5
    np.testing.assert_allclose(moved.verts[:, 1], thing.verts[:, 1])
    np.testing.assert_allclose(moved.high - moved.low, thing.high - thing.low, atol=1e-5)


def test_things_in_front_mostly_overlap_the_target() -> None:
    overlaps = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        target = armchair(yaw=rng.uniform(0, 6))
        camera = look_at_target(target, SIZE, rng)
        moved = place_in_front(target, armchair(yaw=rng.uniform(0, 6), size=0.8), camera, rng)
        (a, b), (c, d) = (np.sort(camera.project(one.verts)[:, 0])[[0, -1]] for one in (target, moved))
        overlaps += a < d and c < b
    assert overlaps >= 36


def test_things_around_stand_on_every_side() -> None:
    target, thing = armchair(), armchair(size=0.8)
    sides = {"front": 0, "behind": 0, "left": 0, "right": 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        camera = look_at_target(target, SIZE, rng)
        moved = place_around(target, thing, camera, rng)
        assert moved.apart_from(target, 0.01)
        sides["front"] += bool(moved.low[2] > target.high[2])
        sides["behind"] += bool(moved.high[2] < target.low[2])
        sides["left"] += bool(moved.high[0] < target.low[0])
        sides["right"] += bool(moved.low[0] > target.high[0])
    assert min(sides.values()) >= 5


def test_no_deformation_at_strength_zero() -> None:
    verts = box_mesh(ARMCHAIR).verts
    assert deform(verts, 0.0, np.random.default_rng(0)) is verts


@pytest.mark.parametrize("seed", range(30))
def test_deformation_keeps_frame_and_mirror_plane(seed: int) -> None:
    verts = box_mesh(CHAIR).verts
    original = verts.copy()
    changed = deform(verts, 1.0, np.random.default_rng(seed))
    np.testing.assert_array_equal(verts, original)
    assert changed.dtype == np.float32
    low, high = changed.min(axis=0), changed.max(axis=0)
    np.testing.assert_allclose(low + high, 0, atol=1e-6)
    assert np.linalg.norm(high - low) == pytest.approx(1, abs=1e-5)
    assert np.abs(changed - verts).max() > 0.01
    mirrored = changed * np.array([-1, 1, 1], np.float32)
    distance = np.linalg.norm(changed[:, None] - mirrored[None], axis=-1)
    assert distance.min(axis=1).max() < 1e-5


@pytest.mark.parametrize(("yaw_deg", "azimuth"), [(0, 0), (90, 270), (-30, 30), (180, 180)])
def test_viewpoint_of_a_camera_before_a_turned_object(yaw_deg, azimuth):
    placed = armchair(np.radians(yaw_deg))
    middle = (placed.low + placed.high) / 2
    camera = Camera(middle + np.array([0.0, 3.0, 3.0]), 0.0, 100.0, 64)
    assert placed.viewpoint(camera) == pytest.approx({"azimuth_deg": azimuth, "elevation_deg": 45}, abs=1e-3)


def test_viewpoint_is_that_of_the_crop_camera():
    """From far away, a scene's camera and a crop's camera at the viewpoint see the same but for scale and place."""
    placed = armchair(np.radians(200.0))
    elevation, far = np.radians(25.0), 400.0
    middle = (placed.low + placed.high).astype(np.float64) / 2
    camera = Camera(middle + far * np.array([0.0, np.sin(elevation), np.cos(elevation)]), elevation, 100.0, 64)
    seen = camera.project(placed.verts)[:, :2].astype(np.float64) * [-1, -1]  # to left and up
    angles = [torch.tensor([np.radians(placed.viewpoint(camera)[f"{name}_deg"])]) for name in ("azimuth", "elevation")]
    view = rotation(angles[0], angles[1], torch.zeros(1, dtype=torch.float64))[0].numpy()
    expected = (placed.mesh.verts @ view.T)[:, :2]
    seen -= seen.mean(axis=0)
    expected = expected - expected.mean(axis=0)
    np.testing.assert_allclose(seen / np.abs(seen).max(), expected / np.abs(expected).max(), atol=5e-3)
