"""The Triton z-buffer in the interpreter: against rays, against the CPU's, and its rules; with ``-m gpu`` on a GPU."""

from __future__ import annotations

import interpreter  # noqa: F401
import numpy as np
import pytest
import torch
from test_zbuffer import HEIGHT, QUAD, WIDTH, cast_rays, soup, square

from shape3d_amodal.rendering import zbuffer
from shape3d_amodal.rendering.gpu import binning
from shape3d_amodal.rendering.gpu import zbuffer as gpu_zbuffer


def rasterize(verts, faces, height, width):
    """As ``zbuffer.rasterize``, from and to arrays."""
    tensors = [torch.from_numpy(np.asarray(part)).to(gpu_zbuffer.DEVICE) for part in (verts, faces)]
    depth, face_id = gpu_zbuffer.rasterize(*tensors, height, width)
    return depth.cpu().numpy(), face_id.cpu().numpy()


@pytest.mark.parametrize("seed", range(2))
def test_random_triangles(seed):
    verts, faces = soup(6, seed)
    depth, face_id = rasterize(verts, faces, HEIGHT, WIDTH)
    expected, nearest, clear = cast_rays(verts, faces)
    assert (nearest[clear] >= 0).any()
    np.testing.assert_array_equal(face_id[clear], nearest[clear])
    np.testing.assert_allclose(depth[clear], expected[clear], rtol=1e-4)
    assert depth.dtype == np.float32
    assert face_id.dtype == np.int32


@pytest.mark.parametrize(
    "bad", [(5, 5, -1), (5, 5, 0), (5, 5, zbuffer.NEAR / 2), (5, 5, np.nan), (5, 5, np.inf), (np.nan, 5, 1), (9, 9, 1)]
)
@pytest.mark.parametrize("room", [None, 0])
def test_dropped_faces(bad, room, monkeypatch):
    """Behind the camera, not finite, or without area: also where a tile goes through all faces."""
    if room is not None:
        monkeypatch.setattr(binning, "room", lambda *_: room)
    verts = np.concatenate([np.array([[0, 0, 1], [3, 3, 1], bad]), square(1, 1, 5, 5, 3)]).astype(np.float32)
    faces = np.concatenate([[[0, 1, 2], [0, 0, 1]], QUAD + 3]).astype(np.int64)
    depth, face_id = rasterize(verts, faces, 7, 9)
    assert set(face_id.ravel().tolist()) == {-1, 2, 3}
    assert (face_id >= 0).sum() == 16
    np.testing.assert_allclose(depth[face_id >= 0], 3, rtol=1e-6)
    assert np.isposinf(depth[face_id < 0]).all()


def test_of_coincident_faces_the_first_wins():
    verts = square(1, 1, 6, 6, 2)
    faces = np.array([[0, 1, 2], [0, 1, 2], [2, 1, 0], [0, 1, 3]], np.int32)
    _, face_id = rasterize(verts, faces, 8, 8)
    assert set(face_id.ravel().tolist()) == {-1, 0, 3}
    _, swapped = rasterize(verts, faces[[3, 0, 1, 2]], 8, 8)
    assert ((swapped == 0) == np.isin(rasterize(verts, faces[3:], 8, 8)[1], [0])).all()


def test_no_holes_where_edges_pass_through_pixel_centres():
    rng = np.random.default_rng(0)
    for _ in range(4):
        middle = [*(rng.integers(3, 6, 2) + 0.5), 1.0]
        verts = np.concatenate([square(0.5, 0.5, 8.5, 8.5, 1), [middle]]).astype(np.float32)
        _, face_id = rasterize(verts, np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]], np.int32), 9, 9)
        assert (face_id >= 0).all()


def test_depth_is_perspective_correct():
    verts = np.array([[0.5, 0.5, 1], [8.5, 0.5, 3], [8.5, 8.5, 3], [0.5, 8.5, 1]], np.float32)
    depth, _ = rasterize(verts, QUAD, 9, 9)
    np.testing.assert_allclose(depth[4, [0, 4, 8]], [1, 1.5, 3], rtol=1e-6)


def test_nothing_to_draw():
    depth, face_id = rasterize(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), 5, 7)
    assert depth.shape == face_id.shape == (5, 7)
    assert np.isposinf(depth).all()
    assert (face_id == -1).all()


def test_wrong_input(monkeypatch):
    verts, faces = torch.zeros(3, 3), torch.zeros(1, 3, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"expected float32 vertices and faces on a cpu device, got torch\.float64"):
        gpu_zbuffer.rasterize(verts.double(), faces, 4, 4)
    monkeypatch.setattr(gpu_zbuffer, "DEVICE", "cuda")  # as without the interpreter
    with pytest.raises(ValueError, match=r"on a cuda device, .* use rendering\.zbuffer on the CPU"):
        gpu_zbuffer.rasterize(verts, faces, 4, 4)


@pytest.mark.gpu
@pytest.mark.parametrize(("count", "height", "width"), [(200, 48, 60), (5000, 301, 517)])
def test_equals_the_cpu_on_a_gpu(count, height, width):
    rng = np.random.default_rng(count)
    middle = rng.uniform((0, 0, 1), (width, height, 4), (count, 1, 3))
    verts = (middle + rng.normal(0, (6, 6, 0.1), (count, 3, 3))).reshape(-1, 3).astype(np.float32)
    faces = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
    depth, face_id = rasterize(verts, faces, height, width)
    expected, expected_id = zbuffer.rasterize(verts, faces, height, width)
    assert (face_id != expected_id).mean() < 1e-3  # where an edge meets a pixel's centre
    same = face_id == expected_id
    np.testing.assert_allclose(depth[same], expected[same], rtol=1e-4)
    again = rasterize(verts, faces, height, width)
    np.testing.assert_array_equal(again[0], depth)
    np.testing.assert_array_equal(again[1], face_id)
