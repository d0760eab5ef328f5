"""The fit of contours: its slopes are the projection's, and it comes back to the pose that drew the mask."""

from __future__ import annotations

import math

import numpy as np
import pytest
from boxes import PARTS, box_mesh
from pinhole import iou, view, window_of
from scipy.spatial.transform import Rotation

from shape3d_amodal.crops.pixels import OUTSIDE, UNKNOWN, VISIBLE, PixelWindow
from shape3d_amodal.priors.bank import bits, contour_fit
from shape3d_amodal.priors.bank.contour_fit import FREE, PoseBeliefs, fit_contours
from shape3d_amodal.priors.bank.poses import ASPECT, CX, CY, DISTANCE, SCALE, Level, MeshTable, Poses, U, V

ZERO = np.zeros(1, np.int64)


def table(name: str) -> MeshTable:
    mesh = box_mesh(PARTS[name])
    return MeshTable.of([(mesh.verts, mesh.faces)])


def seen_at(point: np.ndarray, row: np.ndarray, by: np.ndarray, focal: float | None) -> np.ndarray:
    """Where a point is seen, by the formula, from a pose that is changed by the fitted numbers."""
    right, down, forward = Rotation.from_rotvec(by[:3]).as_matrix() @ row[:9].reshape(3, 3) @ point
    scale, place = row[SCALE] * np.exp(by[3]), row[[U, V]] + row[SCALE] * by[4:6]
    distance = row[DISTANCE] * np.exp(by[6]) if focal is None else focal / scale
    near = distance / (distance + forward)
    x = row[CX] + near * (place[0] - row[CX] + row[ASPECT] * scale * right)
    return np.array([x, row[CY] + near * (place[1] - row[CY] + scale * down)])


@pytest.mark.parametrize("camera_known", [False, True])
@pytest.mark.parametrize("corner", [0, 1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_slopes_are_those_of_the_projection(seed: int, corner: int, camera_known: bool) -> None:
    """At the corners of faces, in any direction of the grid, against central differences."""
    rng = np.random.default_rng(seed)
    mesh, stride = box_mesh(PARTS["chair/one_arm"]), 2
    seen = view(40 + 50 * seed, 20, 8, distance=2.0, place=(0.2, -0.15), aspect=1.1)
    row = seen.row.astype(np.float64)
    focal = row[SCALE] * row[DISTANCE] if camera_known else None
    screen = np.empty((len(mesh.verts), 3), np.float32)
    grid = np.array([3.5, 7.5, stride], np.float32)
    bits.to_samples(mesh.verts, seen.row, grid, screen)
    face = mesh.faces[rng.integers(len(mesh.faces))]
    point, (column, line) = mesh.verts[face[corner]].astype(np.float64), screen[face[corner], :2]
    angle = rng.uniform(0, 2 * np.pi)
    slope, direction = np.zeros(FREE), np.array([np.cos(angle), np.sin(angle)])
    numbers = PoseBeliefs(focal=focal).numbers
    contour_fit._slope(mesh.verts, face, seen.row, grid, screen, line, column, *direction, numbers, slope)
    steps = np.eye(FREE)[: FREE - camera_known] * 1e-5
    expected = [
        (seen_at(point, row, step, focal) - seen_at(point, row, -step, focal)) @ direction / stride / 2e-5
        for step in steps
    ]
    # To rather few digits, as the point is found on the screen in float32.
    size = np.abs(expected).max()
    np.testing.assert_allclose(slope[: len(steps)], expected, rtol=2e-3, atol=2e-3 * size)


def moved(row: np.ndarray, seed: int, focal: float | None) -> np.ndarray:
    """A pose 5 degrees about some axis, 5 % in size and 3.5 % of the diagonal in place off; without a known camera also
    5 % in distance."""
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    turn = Rotation.from_rotvec(np.radians(5) * axis / np.linalg.norm(axis)).as_matrix()
    result = row.copy()
    result[:9] = (turn @ row[:9].reshape(3, 3)).ravel()
    result[SCALE] *= 1 + 0.05 * rng.choice([-1, 1])
    result[[U, V]] += 0.035 * row[SCALE] * rng.choice([-1, 1], 2)
    result[DISTANCE] = row[DISTANCE] * (1 + 0.05 * rng.choice([-1, 1])) if focal is None else focal / result[SCALE]
    return result


@pytest.mark.parametrize("camera_known", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("name", ["chair/one_arm", "dresser/box"])
def test_it_comes_back_to_the_right_pose(name: str, hidden: bool, camera_known: bool) -> None:
    """The mask is a renderer's. Where half of it is hidden, the certain pixels leave some freedom for the rest."""
    certain, whole = [], []
    for seed in range(8):
        seen = view(30 * seed + 10, 15 + seed % 3 * 5, distance=2.5 + seed % 3, place=(0.05, 0.02), pixels=90)
        mask = seen.mask(box_mesh(PARTS[name]))
        hiding = np.zeros_like(mask)
        hiding[:, int(np.nonzero(mask.any(axis=0))[0].mean()) if hidden else mask.shape[1] :] = True
        camera = seen.camera if camera_known else None
        level = Level(window_of(mask & ~hiding, hiding, camera), 1)
        focal = seen.camera[1] if camera_known else None
        beliefs = PoseBeliefs(distance=float(seen.row[DISTANCE]), roll_weight=0.5, focal=focal)
        poses = Poses(ZERO, moved(seen.row, seed, focal)[None], np.zeros(1))
        assert level.overlap(table(name), ZERO, poses.rows)[0] < 0.9
        for steps, robust in ((8, False), (12, True)):
            poses = fit_contours(table(name), poses, level, beliefs, steps=steps, robust=robust)
        certain.append(level.overlap(table(name), ZERO, poses.rows)[0])
        truth, found = (level.masks(table(name), ZERO, row)[0] for row in (seen.row[None], poses.rows))
        whole.append(iou(found, truth))
        if camera_known:
            assert poses.rows[0, DISTANCE] == pytest.approx(focal / poses.rows[0, SCALE], rel=1e-5)
    assert min(certain) > (0.965 if hidden else 0.98) and np.mean(certain) > 0.985
    assert min(whole) > (0.83 if hidden else 0.98) and np.mean(whole) > (0.95 if hidden else 0.985)


def test_the_score_is_the_overlap_less_what_is_not_believed() -> None:
    seen = view(20, 15, 6, distance=5.0)
    mask = seen.mask(box_mesh(PARTS["chair/one_arm"]))
    level = Level(window_of(mask, np.zeros_like(mask)), 2)
    rows = np.stack([seen.row, moved(seen.row, 1, None), moved(seen.row, 2, None)])
    given = Poses(np.zeros(3, np.int64), rows, np.zeros(3))
    for beliefs in (PoseBeliefs(roll_weight=0.5), PoseBeliefs(distance_weight=0.0), PoseBeliefs(focal=400.0)):
        found = fit_contours(table("chair/one_arm"), given, level, beliefs, steps=0, robust=False)
        expected = level.overlap(table("chair/one_arm"), given.mesh, rows) - beliefs.loss(rows)
        np.testing.assert_allclose(found.score, expected, atol=1e-6)
        np.testing.assert_array_equal(found.rows, rows)


def test_what_is_lost_by_beliefs() -> None:
    """Log-distance and roll squared, each by its weight; the distance counts only where the camera is not known."""
    rows = np.stack([view(30, 20, 0, distance=3.3).row, view(50, 10, -12, distance=6.6).row])
    roll = math.radians(12) ** 2
    beliefs = PoseBeliefs(distance=3.3, distance_weight=0.02, roll_weight=0.5)
    np.testing.assert_allclose(beliefs.loss(rows), [0, 0.02 * math.log(2) ** 2 + 0.5 * roll], atol=1e-6)
    known = PoseBeliefs(distance=3.3, distance_weight=0.02, roll_weight=0.5, focal=500.0)
    np.testing.assert_allclose(known.loss(rows), [0, 0.5 * roll], atol=1e-6)
    numbers = [math.log(3.3), 0.02, 0.5, 500.0]
    np.testing.assert_allclose(known.numbers, numbers)
    assert beliefs.numbers[3] == 0


def test_a_pose_is_never_made_worse() -> None:
    """Of all on its way the best one is kept, also on noise, and where nothing or all of the window is visible."""
    noise = np.random.default_rng(0).integers(0, 3, (80, 80)).astype(np.uint8)
    seen = view(35, 20, height=80, width=80)
    rows = np.stack([moved(seen.row, k, None) for k in range(6)])
    poses = Poses(np.zeros(6, np.int64), rows, np.zeros(6))
    for state in (noise, np.full_like(noise, OUTSIDE), np.full_like(noise, VISIBLE), np.full_like(noise, UNKNOWN)):
        level = Level(PixelWindow(state, 0, 0, (40.0, 40.0)), 1)
        before, after = (
            fit_contours(table("dresser/box"), poses, level, PoseBeliefs(), steps=steps, robust=False)
            for steps in (0, 6)
        )
        assert (after.score >= before.score).all() and np.isfinite(after.rows).all()


def test_nearest_covered_samples() -> None:
    """Distances all but exactly those of a search through all samples."""
    face = np.where(np.random.default_rng(0).random((30, 30)) < 0.02, 5, -1).astype(np.int32)
    near = np.empty((30, 30, 2), np.int32)
    contour_fit._nearest_covered(face, near)
    rows, columns = np.nonzero(face >= 0)
    for row, column in np.ndindex(30, 30):
        x, y = near[row, column]
        assert face[row + y, column + x] >= 0
        assert math.hypot(x, y) <= np.hypot(rows - row, columns - column).min() + 0.5
