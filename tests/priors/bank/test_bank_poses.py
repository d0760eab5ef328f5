"""Poses: the numbers are those of a pinhole camera, and as viewpoints they say the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from boxes import ARMCHAIR, box_mesh
from pinhole import iou, turned, view, window_of
from scipy.spatial.transform import Rotation

from shape3d_amodal.crops.pixels import OUTSIDE, VISIBLE, PixelWindow
from shape3d_amodal.geometry import cameras
from shape3d_amodal.priors.bank import bits
from shape3d_amodal.priors.bank.poses import Level, MeshTable, Poses, in_turn, rotations, towards, upright, viewpoints
from shape3d_amodal.rendering.zbuffer import rasterize

CHAIR = box_mesh(ARMCHAIR)
TABLE = MeshTable.of([(CHAIR.verts, CHAIR.faces)])
ZERO = np.zeros(1, np.int64)


def whole_window(height: int, width: int) -> PixelWindow:
    state = np.full((max(height, width),) * 2, OUTSIDE, np.uint8)
    return PixelWindow(state, 0, 0, (width / 2, height / 2))


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.3, -0.2), (-0.4, 0.35)])
@pytest.mark.parametrize("distance", [1.2, 3.3, 40.0])
def test_vertices_are_seen_where_a_pinhole_camera_sees_them(
    distance: float, place: tuple[float, float], stride: int
) -> None:
    """Also before a camera so near that the object fills much of its view, far off its axis, its pixels not square."""
    seen = view(35, 20, 10, distance=distance, place=place, aspect=1.1)
    screen = np.empty((len(CHAIR.verts), 3), np.float32)
    bits.to_samples(CHAIR.verts, seen.row, np.array([10.5, -20.5, stride], np.float32), screen)
    x, y, depth = seen.screen(CHAIR.verts).T
    np.testing.assert_allclose(screen[:, 0] * stride + 10.5, x, atol=2e-3)
    np.testing.assert_allclose(screen[:, 1] * stride - 20.5, y, atol=2e-3)
    np.testing.assert_allclose(screen[:, 2], distance / depth, rtol=1e-5)


def test_a_drawn_pose_is_what_a_renderer_draws() -> None:
    seen = view(200, 30, -8, distance=2.0, place=(0.1, -0.05), aspect=1.1)
    level = Level(whole_window(seen.height, seen.width), 1)
    (mask,) = level.masks(TABLE, ZERO, seen.row[None])
    expected = seen.mask(CHAIR)
    assert (mask[: seen.height] != expected).sum() <= 2 and not mask[seen.height + 1 :].any()


def test_a_coarser_level_has_some_of_the_same_pixels() -> None:
    """Every third one, the first in the middle of the first three; and the score counts these alone."""
    seen = view(80, 10, distance=2.5)
    whole = seen.mask(CHAIR)
    hidden = np.zeros_like(whole)
    hidden[:, :75] = True
    window = window_of(whole & ~hidden, hidden & ~whole)
    other = view(74, 12, distance=2.5).row[None]
    for stride in (1, 3):
        level = Level(window, stride)
        np.testing.assert_array_equal(level.state, window.state[stride // 2 :: stride, stride // 2 :: stride])
        (fine,) = Level(window, 1).masks(TABLE, ZERO, other)
        (mask,) = level.masks(TABLE, ZERO, other)
        assert (mask != fine[stride // 2 :: stride, stride // 2 :: stride]).mean() < 2e-3
        visible, outside = level.state == VISIBLE, level.state == OUTSIDE
        expected = (mask & visible).sum() / (visible.sum() + (mask & outside).sum())
        assert 0.5 < expected < 0.99
        assert level.overlap(TABLE, ZERO, other)[0] == pytest.approx(expected, abs=1e-12)


def test_where_nothing_is_visible_the_score_is_finite() -> None:
    level = Level(whole_window(20, 20), 1)
    assert level.overlap(TABLE, ZERO, view().row[None]).tolist() == [0.0]


@pytest.mark.parametrize("angles", [(0, 0, 0), (30, 20, 0), (-120, 65, 15), (170, -40, -100), (80, 5, 179)])
def test_a_pose_before_the_camera_has_the_angles_of_a_viewpoint(angles: tuple[float, float, float]) -> None:
    """The inverse of ``geometry.cameras.rotation``, whose rows are left and up where a pose has right and down."""
    azimuth, elevation, roll = (torch.tensor([np.radians(angle)], dtype=torch.float64) for angle in angles)
    seen = view(distance=cameras.DISTANCE)
    row = seen.row[None].copy()
    row[0, :9] = (np.diag([-1, -1, 1]) @ cameras.rotation(azimuth, elevation, roll)[0].numpy()).ravel()
    found = viewpoints(row, np.array([[0, 0, 160, 160]], np.float32))
    for name, expected in (("azimuth", azimuth), ("elevation", elevation), ("roll", roll)):
        apart = getattr(found, name).double() - expected
        assert torch.atan2(apart.sin(), apart.cos()).abs().item() < 1e-4, name


def test_a_picture_of_known_angles_is_turned_like_that() -> None:
    """The clockwise roll of the picture is a negative one of the viewpoint."""
    found = viewpoints(view(30, 15, 20).row[None], np.array([[0, 0, 160, 160]], np.float32))
    angles = [getattr(found, name).item() for name in ("azimuth", "elevation", "roll")]
    assert np.degrees(angles) == pytest.approx([30, 15, -20], abs=1e-3)


@pytest.mark.parametrize(
    ("distance", "place", "least"),
    [(cameras.DISTANCE, (0, 0), 0.995), (3.3, (0, 0), 0.98), (cameras.DISTANCE, (0.15, 0.1), 0.94), (40, (0, 0), 0.9)],
)
def test_a_viewpoint_draws_what_the_pose_draws(distance: float, place: tuple[float, float], least: float) -> None:
    """In any square crop; its camera stands at a fixed distance, so of other perspectives something is lost."""
    seen = view(-50, 25, 12, distance=distance, place=place, pixels=70)
    height, width = seen.height, seen.width
    left, top, side = 11.0, -20.0, 140
    crop = np.array([[left, top, left + side, top + side]], np.float32)
    found = viewpoints(seen.row[None], crop)
    screen = cameras.project(torch.from_numpy(CHAIR.verts)[None], found)[0].numpy()
    screen[:, :2] = (1 - screen[:, :2]) * side / 2 + np.array([left, top], np.float32)
    mask = rasterize(screen, CHAIR.faces, height, width)[1] >= 0
    assert iou(mask, seen.mask(CHAIR)) > least


def test_the_optical_axis_is_turned_to_the_ray_by_the_smallest_rotation() -> None:
    ray = np.random.default_rng(0).normal(size=(20, 3)) + np.array([0, 0, 2])
    ray[0] = 0, 0, 3
    unit = ray / np.linalg.norm(ray, axis=1, keepdims=True)
    turn = towards(ray)
    np.testing.assert_allclose(turn[:, :, 2], unit, atol=1e-12)
    expected = np.arctan2(np.hypot(ray[:, 0], ray[:, 1]), ray[:, 2])
    np.testing.assert_allclose(Rotation.from_matrix(turn).magnitude(), expected, atol=1e-9)


def test_rotations_of_vectors() -> None:
    vectors = np.random.default_rng(0).normal(size=(4, 5, 3))
    vectors[0, :3] = [[0, 0, 0], [1e-9, 0, 0], [0, np.pi, 0]]
    expected = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(4, 5, 3, 3)
    np.testing.assert_allclose(rotations(vectors), expected, atol=1e-12)


def test_poses_are_chosen_and_joined_row_by_row() -> None:
    rows = np.stack([view(angle).row for angle in (0, 10, 20, 30)])
    poses = Poses(np.array([0, 1, 2, 3]), rows, np.array([0.2, 0.9, 0.2, 0.5]))
    assert poses.best(3).mesh.tolist() == [1, 3, 0], "the earlier of two that are equal"
    assert Poses.join([poses[:1], poses[np.array([3, 1])]]) == poses[np.array([0, 3, 1])]
    np.testing.assert_allclose(poses.rotation[2], turned(20, 15), atol=1e-6)


@pytest.mark.parametrize(
    ("elevation", "roll", "stands"),
    [(0, 0, True), (50, 0, True), (15, 15, True), (15, -15, True), (70, 0, False), (-20, 0, False), (15, 25, False)],
)
@pytest.mark.parametrize("azimuth", [0, 130, 270])
def test_what_stands_upright_before_a_camera(azimuth: float, elevation: float, roll: float, stands: bool) -> None:
    for turn, expected in ((roll, stands), (roll + 180, False)):
        assert upright(turned(azimuth, elevation, turn)) == expected


@pytest.mark.parametrize("count", [0, 1, 5, 12, 40])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.8, 1.0])
def test_two_kinds_take_turns(share: float, count: int) -> None:
    """Until one has no more; of each pair the better one comes first."""
    rng = np.random.default_rng(count)
    score, first = rng.integers(0, 6, 30).astype(float), rng.random(30) < share
    queues = [sorted(np.nonzero(kind)[0], key=lambda i: -score[i]) for kind in (first, ~first)]
    expected = []
    while queues[0] or queues[1]:
        turn = sorted((queue.pop(0) for queue in queues if queue), key=lambda i: (-score[i], i))
        expected += turn
    np.testing.assert_array_equal(in_turn(score, first, count), expected[:count])
