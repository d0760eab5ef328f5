"""Polygons that touch or cross themselves: the even-odd region, against shapely and areas worked out by hand."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from outlines import assert_covers, enclosed, plane_axes

from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.formats.mesh_data import MeshData
from shape3d_amodal.meshes.formats.ply import parse_ply
from shape3d_amodal.meshes.formats.triangulation.polygons import triangulate
from shape3d_amodal.meshes.parsers import read_mesh_file

GRID = arrays(np.int64, st.tuples(st.integers(4, 25), st.just(2)), elements=st.integers(0, 6))
"""Many corners on edges, edges on edges, and corners that come again."""
_INNER = np.cos(0.4 * np.pi) / np.cos(0.2 * np.pi)
"""Radius of the inner corners of a pentagram whose outer corners are 1 from the middle."""
STAR, INNER = 5 * _INNER * np.sin(0.2 * np.pi), 2.5 * _INNER**2 * np.sin(0.4 * np.pi)
"""Areas of the whole star and of the pentagon in its middle."""
PENTAGRAM = [[np.cos(0.8 * np.pi * k), np.sin(0.8 * np.pi * k)] for k in range(5)]


def scattered(seed: int, corners: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(corners, 2))


def triangles_of(points: np.ndarray) -> np.ndarray:
    """The triangles [T,3,3] of one polygon [n,3]."""
    cut = triangulate(points, np.arange(len(points)), np.array([len(points)]))
    return cut.extended(points)[cut.faces]


def check_in_space(flat: np.ndarray, seed: int) -> None:
    axes = plane_axes(seed)
    assert_covers(triangles_of(flat @ axes + np.array([3.0, -1, 2])) @ axes.T - axes @ [3.0, -1, 2], enclosed(flat))


@settings(max_examples=60, deadline=None)
@given(GRID, st.integers(0, 1000))
def test_outlines_on_a_grid(flat: np.ndarray, seed: int) -> None:
    assume(np.linalg.matrix_rank(flat - flat[0]) == 2)
    check_in_space(flat.astype(np.float64), seed)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 40))
def test_scattered_outlines(seed: int, corners: int) -> None:
    check_in_space(scattered(seed, corners), seed)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 25))
def test_outlines_that_are_not_flat_are_covered_seen_from_the_front(seed: int, corners: int) -> None:
    """Heights whose sums with the Newell normal's sides are zero: the front stays the direction of z."""
    flat = scattered(seed, corners)
    before, after = np.roll(flat, 1, axis=0), np.roll(flat, -1, axis=0)
    area = ((flat[:, 0] * after[:, 1]) - (flat[:, 1] * after[:, 0])).sum()
    assume(abs(area) > 0.5)
    height = np.random.default_rng(seed + 1).normal(size=corners) * 0.2
    slopes = (after - before).T
    height -= np.linalg.lstsq(slopes, slopes @ height, rcond=None)[0]
    assert_covers(triangles_of(np.column_stack([flat, height]))[..., :2], enclosed(flat))


@pytest.mark.parametrize(
    "outline",
    [
        [[1, 3], [3, 0], [0, 3], [3, 3], [3, 3], [3, 0], [0, 3]],
        [[2, 3], [3, 0], [1, 0], [0, 3], [3, 3], [0, 0]],
        [[3, 1], [2, 0], [3, 3], [3, 0], [2, 2], [2, 3], [3, 3]],
        [[0, 1], *[[1, 1]] * 4, [1, 2], [1, 0], *[[1, 1]] * 3, [2, 1], [1, 2], [0, 1], [1, 1], [2, 1]],
    ],
)
def test_outlines_that_touch_themselves_often(outline: list[list[int]]) -> None:
    """Where they pass through their first corner, rounding says which way they turn there: many planes are tried."""
    for seed in range(20):
        check_in_space(np.array(outline, np.float64), seed)


@pytest.mark.parametrize(
    ("outline", "area"),
    [
        pytest.param([[0, 0], [2, 2], [2, 0], [0, 2]], 2, id="bow tie"),
        pytest.param([[0, 0], [4, 2], [4, 0], [0, 1]], 8 / 3 + 2 / 3, id="unequal bow tie"),
        pytest.param(PENTAGRAM, STAR - INNER, id="pentagram: its five points"),
        pytest.param([[0, 0], [3, 0], [3, 3], [0, 3], [0, 0], [1, 1], [1, 2], [2, 2], [2, 1], [1, 1]], 8, id="frame"),
        pytest.param([[0, 0], [3, 0], [3, 3], [0, 3], [0, 0], [1, 1], [2, 1], [2, 2], [1, 2], [1, 1]], 8, id="hole"),
        pytest.param([[0, 0], [1, 0], [1, 1], [0, 1]] * 2 + [[0, 0], [1, 0], [1, 1], [0, 1]], 1, id="three times"),
        pytest.param(
            [[0, 0], [5, 0], [5, 4], [0, 4], [0, -1], [1, -1], [1, 3], [4, 3], [4, 1], [0, 1]],
            20 - 6 + 1 - 1,  # a rectangle, less the hole, with an end below and another that lies within twice
            id="ring of two ends",
        ),
    ],
)
def test_areas_by_hand(outline: list[list[float]], area: float) -> None:
    points = np.column_stack([np.array(outline, np.float64), np.zeros(len(outline))])
    triangles = triangles_of(points)
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    assert np.linalg.norm(normals, axis=1).sum() / 2 == pytest.approx(area, abs=1e-6)
    assert (normals[:, 2] >= 0).all() or (normals[:, 2] <= 0).all()


@pytest.mark.parametrize("axes", [(0, 1), (1, 2), (2, 0)])
@pytest.mark.parametrize("backwards", [False, True])
def test_corners_on_edges_and_corners_twice_are_used(axes: tuple[int, int], backwards: bool) -> None:
    """A U of 7 squares, with the middles of its edges and each corner twice, from any corner on."""
    corners = np.array([[0, 0], [3, 0], [3, 3], [2, 3], [2, 1], [1, 1], [1, 3], [0, 3]], np.float64)
    middles = (corners + np.roll(corners, -1, axis=0)) / 2
    outline = np.stack([corners, corners, middles], axis=1).reshape(-1, 2)[:: -1 if backwards else 1]
    for first in range(len(outline)):
        points = np.zeros((len(outline), 3))
        points[:, axes] = np.roll(outline, -first, axis=0)
        cut = triangulate(points, np.arange(len(points)), np.array([len(points)]))
        assert cut.notes == () and len(cut.between) == 0
        assert np.unique(cut.faces).tolist() == list(range(len(points)))
        sides = points[cut.faces][:, 1:] - points[cut.faces][:, :1]
        assert np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum() / 2 == pytest.approx(7)


def test_the_mesh_says_so_and_convex_polygons_keep_their_fans(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(
        "v 0 0 0\nv 2 2 0\nv 2 0 0\nv 0 2 0\nv 3 0 0\nv 3 2 0\nf 4 1 3 2\nf 1 2 3 4\nf 3 5 6 2\n"
    )
    mesh = read_mesh_file(tmp_path / "a.obj")
    assert mesh.notes == ("1 polygon that crosses itself, read by the even-odd rule",)
    np.testing.assert_array_equal(mesh.faces[[0, 1, -2, -1]], [[3, 0, 2], [3, 2, 1], [2, 4, 5], [2, 5, 1]])
    np.testing.assert_allclose(mesh.verts[6:], np.broadcast_to([1, 1, 0], (len(mesh.verts) - 6, 3)), atol=1e-15)
    assert len(mesh.verts) > 6


def test_new_vertices_have_the_colours_of_their_edge() -> None:
    """Black below, white above: of the bow tie the lower half is 127.5 / 3, the upper (2 * 255 + 127.5) / 3."""
    head = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    head += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    rows = "0 0 0 0 0 0\n2 0 0 0 0 0\n0 2 0 255 255 255\n2 2 0 255 255 255\n4 0 1 2 3\n"
    mesh: MeshData = parse_ply((head + rows).encode())
    assert mesh.colors is not None
    lower = mesh.verts[mesh.faces][:, :, 1].max(axis=1) <= 1
    assert set(mesh.colors[lower].ravel().tolist()) <= {42, 43}
    assert set(mesh.colors[~lower].ravel().tolist()) <= {212, 213}
    assert lower.any() and not lower.all()


def test_polygons_that_cross_themselves_too_often_are_refused_soon() -> None:
    start = time.process_time()
    for corners in (400, 10_000):
        with pytest.raises(DataError, match="cross themselves seldom"):
            triangles_of(np.column_stack([scattered(0, corners), np.zeros(corners)]))
    assert time.process_time() - start < 1


def test_a_long_slit_between_hole_and_outline_is_no_crossing() -> None:
    """A disc of 2,000 corners with a hole of 2,000, joined by a slit that is walked twice."""
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    outline = np.concatenate([2 * circle, 2 * circle[:1], circle[:1], circle[:0:-1], circle[:1]])
    cut = triangulate(
        np.column_stack([outline, np.zeros(len(outline))]), np.arange(len(outline)), np.array([len(outline)])
    )
    assert cut.notes == ()
    corners = outline[cut.faces]
    sides = corners[:, 1:] - corners[:, :1]
    area = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]).sum() / 2
    assert area == pytest.approx(3 * 1000 * np.sin(2 * np.pi / 2000), rel=1e-9)
