from __future__ import annotations

import numpy as np
import pytest
from boxes import box_mesh
from hypothesis import given, settings
from hypothesis import strategies as st

from shape3d_amodal.meshes.voxels import (
    chamfer_distance,
    face_areas,
    surface_points,
    to_unit_cube,
    voxel_iou,
    voxels,
)

WHOLE = ((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))


def boxes(*parts):
    """Boxes (low, high) as they are, not normalised."""
    mesh = box_mesh(parts)
    low, high = np.array(parts).min(axis=(0, 1)), np.array(parts).max(axis=(0, 1))
    return mesh.verts * np.linalg.norm(high - low) + (low + high) / 2, mesh.faces


def filled(low, high, resolution=32):
    """The voxels whose inside a box meets: its borders lie between voxel borders."""
    grid = np.zeros((resolution,) * 3, bool)
    start, stop = ((np.array(point) + 0.5) * resolution for point in (low, high))
    grid[tuple(slice(int(np.floor(a)), int(np.ceil(b))) for a, b in zip(start, stop, strict=True))] = True
    return grid


@pytest.mark.parametrize(
    ("low", "high"), [((-0.3, -0.2, -0.1), (0.21, 0.36, 0.05)), ((-0.45, -0.01, 0.1), (-0.4, 0.49, 0.13))]
)
def test_a_box(low, high):
    np.testing.assert_array_equal(voxels(*boxes((low, high))), filled(low, high))


def test_the_whole_cube_and_nothing_outside():
    assert voxels(*boxes(WHOLE)).all()
    assert not voxels(*boxes(((0.6, 0.6, 0.6), (0.9, 0.9, 0.9)))).any()


def test_overlapping_closed_parts_are_filled():
    """Parity would leave the overlap empty."""
    parts = ((-0.4, -0.4, -0.4), (0.1, 0.1, 0.1)), ((-0.2, -0.2, -0.2), (0.3, 0.3, 0.3))
    np.testing.assert_array_equal(voxels(*boxes(*parts)), filled(*parts[0]) | filled(*parts[1]))


def test_a_mesh_inside_out_is_the_same():
    verts, faces = boxes(((-0.3, -0.3, -0.3), (0.3, 0.2, 0.1)))
    np.testing.assert_array_equal(voxels(verts, faces[:, ::-1]), voxels(verts, faces))


def test_a_cavity_that_is_shut_off_is_filled():
    outer, inner = ((-0.4, -0.4, -0.4), (0.4, 0.4, 0.4)), ((-0.3, -0.3, -0.3), (0.3, 0.3, 0.3))
    verts, faces = boxes(outer, inner)
    turned = np.concatenate([faces[:12], faces[12:, ::-1]])  # the wall between the two boxes is the solid part
    np.testing.assert_array_equal(voxels(verts, turned), filled(*outer))


def test_a_box_without_its_lid_is_still_filled():
    verts, faces = boxes(((-0.4, -0.4, -0.4), (0.4, 0.4, 0.4)))
    top = (verts[faces][:, :, 1] > 0.39).all(axis=1)
    assert top.sum() == 2
    np.testing.assert_array_equal(voxels(verts, faces[~top])[:, :-4], voxels(verts, faces)[:, :-4])


def test_a_sheet_is_one_voxel_thick():
    verts = np.array([[-0.5, 0.01, -0.5], [0.5, 0.01, -0.5], [0.5, 0.01, 0.5], [-0.5, 0.01, 0.5]])
    grid = voxels(verts, np.array([[0, 1, 2], [0, 2, 3]]))
    assert grid[:, 16].all() and grid.sum() == 32 * 32


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_winding_equals_the_inside_of_random_tetrahedra(seed):
    """Voxels that no face touches are inside exactly where all barycentric coordinates of their centre are positive."""
    rng = np.random.default_rng(seed)
    verts = rng.uniform(-0.5, 0.5, (4, 3))
    edges = (verts[1:] - verts[0]).T
    if abs(np.linalg.det(edges)) < 1e-3:
        return
    if np.linalg.det(edges) < 0:
        verts = verts[[0, 2, 1, 3]]
        edges = (verts[1:] - verts[0]).T
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    centres = (np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij"), axis=-1) + 0.5) / 32 - 0.5
    weights = (centres - verts[0]) @ np.linalg.inv(edges).T
    depth = np.minimum(weights.min(axis=-1), 1 - weights.sum(axis=-1))
    grid = voxels(verts, faces)
    assert grid[depth > 0].all()
    far = depth < -1 / 32 * np.abs(np.linalg.inv(edges)).sum()  # beyond the voxels that a face may cross
    assert not grid[far].any()


def test_iou_of_two_boxes():
    first, second = filled((-0.5, -0.5, -0.5), (0.0, 0.5, 0.5)), filled((-0.25, -0.5, -0.5), (0.25, 0.5, 0.5))
    assert voxel_iou(first, second) == pytest.approx(1 / 3)
    assert voxel_iou(first & False, first & False) == 1
    assert voxel_iou(first & False, first) == 0


def test_unit_cube():
    verts, _ = boxes(((1.0, 2.0, 3.0), (2.0, 6.0, 4.0)))
    cube = to_unit_cube(verts)
    np.testing.assert_allclose(
        (cube.min(axis=0), cube.max(axis=0)), [[-1 / 8, -0.5, -1 / 8], [1 / 8, 0.5, 1 / 8]], atol=1e-6
    )


def test_chamfer_distance():
    first, second = np.array([[0.0, 0, 0], [1, 0, 0]]), np.array([[0.0, 0, 3.0]])
    # There: 3 and sqrt(10); back: 3.
    assert chamfer_distance(first, second) == pytest.approx(((3 + np.sqrt(10)) / 2 + 3) / 2)
    assert chamfer_distance(first, first) == 0


def test_areas_of_faces():
    verts = np.array([[0.0, 0, 0], [3, 0, 0], [0, 4, 0], [0, 0, 2], [6, 0, 0]])
    np.testing.assert_allclose(face_areas(verts, np.array([[0, 1, 2], [0, 3, 2], [0, 1, 4]])), [6, 4, 0])


def test_surface_points_lie_on_the_surface_by_area():
    verts = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [8, 0, 0], [5, 1, 0]])
    points = surface_points(verts, np.array([[0, 1, 2], [3, 4, 5]]), 4000)
    assert (points[:, 2] == 0).all()
    small = points[:, 0] < 2
    assert small.mean() == pytest.approx(1 / 4, abs=0.03)
    assert (points[small].sum(axis=1) <= 1).all()
    np.testing.assert_allclose(points[small].mean(axis=0), [1 / 3, 1 / 3, 0], atol=0.03)
    np.testing.assert_array_equal(points, surface_points(verts, np.array([[0, 1, 2], [3, 4, 5]]), 4000))
