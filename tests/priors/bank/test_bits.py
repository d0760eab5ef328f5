"""Silhouettes as bits: against a test of each sample by itself, and against numpy's counts."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from shape3d_amodal.priors.bank import bits

FLAT = np.array([1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0, 1], np.float32)
"""A pose that leaves x and y of vertices at z = 0 as they are, in pixels."""


def covered(verts: np.ndarray, faces: np.ndarray, grid: tuple[float, float, float], size: int) -> tuple:
    """Samples [size,size] within a triangle, and those that lie so near to an edge that rounding may decide."""
    x0, y0, stride = grid
    x, y = np.meshgrid(x0 + stride * np.arange(size), y0 + stride * np.arange(size))
    inside, unsure = np.zeros((2, size, size), bool)
    for corners in verts[faces].astype(np.float64):
        distance = []
        for k in range(3):
            (ax, ay), (bx, by) = corners[k, :2], corners[(k + 1) % 3, :2]
            distance.append(((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / np.hypot(bx - ax, by - ay))
        least = np.maximum(np.min(distance, axis=0), -np.max(distance, axis=0))  # either winding
        inside |= least > 0
        unsure |= abs(least) < 1e-3 * stride
    return inside, unsure


def drawn(verts: np.ndarray, faces: np.ndarray, pose: np.ndarray, grid: tuple[float, float, float], size: int):
    out = np.full((size, -(-size // 64)), 77, np.uint64)  # what was there before must not show
    screen = np.empty((len(verts), 3), np.float32)
    bits.draw(verts, faces, pose, np.array(grid, np.float32), screen, out)
    return out


@pytest.mark.parametrize(
    ("size", "grid"), [(40, (0.5, 0.5, 1)), (64, (-7.5, 3.5, 1)), (150, (20.5, -30.5, 3)), (200, (0.5, 0.5, 2))]
)
@pytest.mark.parametrize("seed", range(4))
def test_a_sample_is_covered_where_a_triangle_is(size: int, grid: tuple[float, float, float], seed: int) -> None:
    """Triangles of all sizes, some beyond the grid on every side."""
    rng = np.random.default_rng(seed)
    x0, y0, stride = grid
    middle = np.array([x0, y0]) + stride * size * rng.uniform(-0.3, 1.3, (12, 1, 2))
    flat = middle + stride * size * rng.choice([0.02, 0.2, 1.0], (12, 1, 1)) * rng.uniform(-1, 1, (12, 3, 2))
    verts = np.concatenate([flat.reshape(-1, 2), np.zeros((36, 1))], axis=1).astype(np.float32)
    faces = np.arange(36, dtype=np.int32).reshape(12, 3)
    for few in (faces[:1], faces[:3], faces):
        expected, unsure = covered(verts, few, grid, size)
        words = drawn(verts, few, FLAT, grid, size)
        found = bits.unpack(words, size)
        assert (found == expected)[~unsure].all()
        assert not bits.unpack(words, 64 * words.shape[1])[:, size:].any(), "bits beyond the last column"
        assert unsure.mean() < 0.05


def test_sample_centres_on_edges_are_covered() -> None:
    """A square of two triangles whose corners are sample centres: no seam, and its border belongs to it."""
    verts = np.array([[3, 2, 0], [70, 2, 0], [70, 9, 0], [3, 9, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    expected = np.zeros((80, 80), bool)
    expected[2:10, 3:71] = True
    np.testing.assert_array_equal(bits.unpack(drawn(verts, faces, FLAT, (0, 0, 1), 80), 80), expected)


def test_what_is_behind_the_camera_is_drawn_as_if_just_before_it() -> None:
    verts = np.array([[0.5, 0, 0], [0.5, 0, -1], [0.5, 0, -7]], np.float32)
    pose = FLAT.copy()
    pose[[9, 12]] = 10, 2  # ten pixels a unit, from two units away
    screen = np.empty((3, 3), np.float32)
    bits.to_samples(verts, pose, np.array([0, 0, 1], np.float32), screen)
    np.testing.assert_allclose(screen[:, 0], [5, 10, 5000], rtol=1e-5)
    np.testing.assert_allclose(screen[:, 2], [1, 2, 1000], rtol=1e-5)


@pytest.mark.parametrize("width", [1, 63, 64, 65, 190])
def test_masks_come_back_from_bits(width: int) -> None:
    masks = np.random.default_rng(width).random((3, 5, width)) < 0.4
    packed = bits.pack(masks)
    assert packed.shape == (3, 5, -(-width // 64)) and packed.dtype == np.uint64
    np.testing.assert_array_equal(bits.unpack(packed, width), masks)
    for row, words in zip(masks[0], packed[0], strict=True):
        expected = sum(1 << column for column in np.nonzero(row)[0].tolist())
        assert sum(int(word) << 64 * k for k, word in enumerate(words)) == expected


@numba.njit
def popcounts(words, out):  # type: ignore[no-untyped-def]
    for i in range(len(words)):
        out[i] = bits.popcount(words[i])


def test_bits_of_a_word_are_counted() -> None:
    words = np.random.default_rng(0).integers(0, 2**64, 200, np.uint64, endpoint=False)
    words[:3] = 0, 1, 2**64 - 1
    out = np.zeros(200, np.int64)
    popcounts(words, out)
    assert out.tolist() == [int(word).bit_count() for word in words]


def test_each_pose_draws_its_own_mesh_and_its_samples_are_counted() -> None:
    """Two meshes in one table, of which a pose draws one: a square at the left, a triangle at the right."""
    square = np.array([[2, 2, 0], [30, 2, 0], [30, 40, 0], [2, 40, 0]], np.float32)
    triangle = np.array([[60, 10, 0], [90, 12, 0], [70, 80, 0]], np.float32)
    verts, first_vert = np.concatenate([square, triangle]), np.array([0, 4, 7])
    faces, first_face = np.array([[0, 1, 2], [0, 2, 3], [0, 1, 2]], np.int32), np.array([0, 2, 3])
    mesh, poses = np.array([1, 0, 1]), np.tile(FLAT, (3, 1))
    poses[2, [10, 11]] = -20.0, 5.0  # shifted
    grid, size = np.array([0, 0, 1], np.float32), 100
    out = np.empty((3, size, 2), np.uint64)
    bits.draw_all(verts, first_vert, faces, first_face, mesh, poses, grid, out)
    masks = bits.unpack(out, size)
    for k, own in enumerate((triangle, square, triangle + np.array([-20, 5, 0], np.float32))):
        indices = faces[2:] if k != 1 else faces[:2]
        np.testing.assert_array_equal(masks[k], bits.unpack(drawn(own, indices, FLAT, (0, 0, 1), size), size))
    assert masks[1].sum() == 39 * 29 and not (masks[0] & masks[1]).any()
    visible, outside = np.random.default_rng(0).random((2, size, size)) < 0.5
    counts = np.empty((3, 2))
    packed = bits.pack(visible), bits.pack(outside)
    bits.count_all(verts, first_vert, faces, first_face, mesh, poses, grid, *packed, counts)
    expected = [[(one & visible).sum(), (one & outside).sum()] for one in masks]
    np.testing.assert_array_equal(counts, expected)
