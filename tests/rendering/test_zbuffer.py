"""The hard z-buffer against rays through every pixel centre, one triangle at a time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shape3d_amodal.rendering.zbuffer import NEAR, rasterize

HEIGHT, WIDTH = 24, 30
EDGE = 1e-3
"""Pixel centres nearer to an edge than this (as a barycentric weight) are left out: rounding decides there."""


def soup(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Random triangles, partly outside the picture, at depths 0.5 to 4."""
    rng = np.random.default_rng(seed)
    verts = rng.uniform((-8, -8, 0.5), (WIDTH + 8, HEIGHT + 8, 4), (3 * count, 3)).astype(np.float32)
    return verts, np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def cast_rays(verts: NDArray, faces: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Depth, nearest face and whether it is clear of edges, by intersecting rays with planes in space, in float64.

    A pinhole of focal length 1 px at the upper left corner: the point at (x, y) px and depth z lies at (x z, y z, z).
    """
    x, y, z = verts.astype(np.float64).T
    space = np.stack([x * z, y * z, z], axis=1)
    depth = np.full((HEIGHT, WIDTH), np.inf)
    nearest = np.full((HEIGHT, WIDTH), -1)
    clear = np.ones((HEIGHT, WIDTH), bool)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            ray = np.array([column + 0.5, row + 0.5, 1.0])
            for f, (a, b, c) in enumerate(space[faces]):
                # a wa + b wb + c wc lies on the ray where all weights have the sign of their sum.
                weights = np.linalg.solve(np.stack([a, b, c], axis=1), ray)
                share = weights / weights.sum()
                clear[row, column] &= abs(share).min() > EDGE
                # The ray meets the triangle's plane at depth 1 / (sum of the weights).
                if (share > 0).all() and weights.sum() > 0 and 1 / weights.sum() < depth[row, column]:
                    depth[row, column], nearest[row, column] = 1 / weights.sum(), f
    return depth, nearest, clear


@pytest.mark.parametrize("seed", range(4))
def test_random_triangles(seed: int) -> None:
    verts, faces = soup(6, seed)
    depth, face_id = rasterize(verts, faces, HEIGHT, WIDTH)
    expected, nearest, clear = cast_rays(verts, faces)
    assert clear.mean() > 0.9
    assert (nearest[clear] >= 0).any()
    np.testing.assert_array_equal(face_id[clear], nearest[clear])
    np.testing.assert_allclose(depth[clear], expected[clear], rtol=1e-4)


@pytest.mark.parametrize("face", [[0, 1, 3], [0, -1, 2]])
def test_indices_of_no_vertex_are_refused(face: list[int]) -> None:
    verts = square(1, 1, 5, 5, 2)[:3]
    with pytest.raises(ValueError, match=r"faces: expected vertex indices in 0\.\.2, got (0\.\.3|-1\.\.2)"):
        rasterize(verts, np.array([face], np.int32), 8, 8)


def test_types_and_empty_pixels() -> None:
    depth, face_id = rasterize(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), 5, 7)
    assert depth.shape == face_id.shape == (5, 7)
    assert depth.dtype == np.float32
    assert face_id.dtype == np.int32
    assert np.isposinf(depth).all()
    assert (face_id == -1).all()


def square(x0: float, y0: float, x1: float, y1: float, depth: float) -> NDArray[np.float32]:
    return np.array([[x0, y0, depth], [x1, y0, depth], [x1, y1, depth], [x0, y1, depth]], np.float32)


QUAD = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def test_pixels_are_sampled_at_their_centres() -> None:
    """A square covers exactly the pixels whose centres it holds; x is the column, y the row."""
    _, face_id = rasterize(square(3.4, 2.6, 8.4, 5.4, 1), QUAD, HEIGHT, WIDTH)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[3:5, 3:8] = True  # centres 3.5 .. 4.5 down, 3.5 .. 7.5 across
    np.testing.assert_array_equal(face_id >= 0, expected)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_both_orientations_are_drawn(order: list[int]) -> None:
    verts = np.array([[2, 2, 1], [20, 3, 2], [8, 19, 3]], np.float32)
    _, face_id = rasterize(verts, np.array([order], np.int32), HEIGHT, WIDTH)
    assert (face_id == 0).sum() == pytest.approx((18 * 17 - 1 * 6) / 2, rel=0.05)


def test_unit_cube_from_its_front() -> None:
    """A cube of side 1, its centre 3 in front of a camera of focal length 40 px: its front is 2.5 away, 16 px wide."""
    corners = np.array([[x, y, z] for z in (2.5, 3.5) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
    verts = np.stack(
        [40 * corners[:, 0] / corners[:, 2] + 12, 40 * corners[:, 1] / corners[:, 2] + 12, corners[:, 2]], 1
    )
    quads = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5))
    faces = np.array([tri for a, b, c, d in quads for tri in ((a, b, c), (a, c, d))], np.int32)
    depth, face_id = rasterize(verts.astype(np.float32), faces, 24, 24)
    expected = np.full((24, 24), np.inf)
    expected[4:20, 4:20] = 2.5
    np.testing.assert_allclose(depth, expected, rtol=1e-6)
    assert set(face_id[4:20, 4:20].ravel().tolist()) == {0, 1}


def test_depth_is_perspective_correct() -> None:
    """Half way on the screen between depths 1 and 3 a flat face is 1.5 away, not 2."""
    verts = np.array([[0.5, 0.5, 1], [20.5, 0.5, 3], [20.5, 20.5, 3], [0.5, 20.5, 1]], np.float32)
    depth, _ = rasterize(verts, QUAD, 24, 24)
    np.testing.assert_allclose(depth[10, [0, 10, 20]], [1, 1.5, 3], rtol=1e-6)


@pytest.mark.parametrize(
    "bad", [(5, 5, -1), (5, 5, 0), (5, 5, NEAR / 2), (5, 5, np.nan), (5, 5, np.inf), (np.nan, 5, 1), (np.inf, 5, 1)]
)
def test_faces_behind_the_camera_or_not_finite_are_dropped(bad: tuple[float, float, float]) -> None:
    verts = np.concatenate([np.array([[0, 0, 1], [20, 0, 1], bad]), square(2, 2, 6, 6, 3)]).astype(np.float32)
    faces = np.concatenate([[[0, 1, 2]], QUAD + 3]).astype(np.int32)
    depth, face_id = rasterize(verts, faces, HEIGHT, WIDTH)
    assert (face_id != 0).all()
    assert (face_id >= 0).sum() == 16
    np.testing.assert_allclose(depth[face_id >= 0], 3, rtol=1e-6)


def test_faces_without_area_are_dropped() -> None:
    verts = np.array([[1, 1, 1], [10, 10, 1], [20, 20, 1]], np.float32)
    _, face_id = rasterize(verts, np.array([[0, 1, 2], [0, 0, 1]], np.int32), HEIGHT, WIDTH)
    assert (face_id == -1).all()


def test_coincident_faces() -> None:
    """Which of two equal faces wins is open, but not the depth, nor the result from one run to the next."""
    verts = soup(1, 3)[0]
    once = rasterize(verts, np.array([[0, 1, 2]], np.int32), HEIGHT, WIDTH)
    twice = rasterize(verts, np.array([[0, 1, 2], [2, 1, 0]], np.int32), HEIGHT, WIDTH)
    np.testing.assert_allclose(twice[0], once[0], rtol=1e-6)
    np.testing.assert_array_equal(twice[1] >= 0, once[1] >= 0)
    np.testing.assert_array_equal(
        rasterize(verts, np.array([[0, 1, 2], [2, 1, 0]], np.int32), HEIGHT, WIDTH)[1], twice[1]
    )


@pytest.mark.parametrize("seed", range(20))
def test_no_holes_where_edges_pass_through_pixel_centres(seed: int) -> None:
    rng = np.random.default_rng(seed)
    middle = [*(rng.integers(5, 20, 2) + 0.5), 1.0]
    verts = np.concatenate([square(1.5, 1.5, 22.5, 22.5, 1), [middle]]).astype(np.float32)
    faces = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]], np.int32)
    _, face_id = rasterize(verts, faces, 24, 24)
    assert (face_id[2:22, 2:22] >= 0).all()
