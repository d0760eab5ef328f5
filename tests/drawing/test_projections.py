from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from shape3d_amodal.crops.pasting import CompletedObject
from shape3d_amodal.drawing.projections import (
    mesh_over_image,
    render_mesh,
    to_screen,
    turntable,
    view_of,
    write_glb,
    write_scene_glb,
)
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.geometry.cameras import DISTANCE, FOCAL
from shape3d_amodal.meshes.parsers import read_mesh_file

WINDOW = np.array([10, 20, 74, 84], np.float32)
SPHERE = trimesh.creation.icosphere(3, radius=0.3)
VERTS, FACES = SPHERE.vertices.astype(np.float32), SPHERE.faces.astype(np.int64)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "point", "direction"),
    [
        (0, 0, (0, 0, 0), (0, 0)),
        (0, 0, (0.1, 0, 0), (1, 0)),  # from the front the object's +x is on the right
        (0, 0, (0, 0.1, 0), (0, -1)),  # up
        (90, 0, (0, 0, 0.1), (-1, 0)),  # from its +x side the front is on the left
        (0, 90, (0, 0, 0.1), (0, 1)),  # from above the front is at the bottom
    ],
)
def test_points_land_where_they_should(azimuth, elevation, point, direction):
    x, y, depth = to_screen(np.array([point], np.float32), view_of(azimuth, elevation), WINDOW)[0]
    length = 0.1 * FOCAL / DISTANCE * 32
    assert (x, y) == pytest.approx((42 + direction[0] * length, 52 + direction[1] * length), abs=1e-3)
    assert depth == pytest.approx(DISTANCE, abs=1e-4)


def test_offset_goes_left_and_up():
    view = {**view_of(0, 0), "offset": [0.5, 0.25]}
    x, y, _ = to_screen(np.zeros((1, 3), np.float32), view, WINDOW)[0]
    assert (x, y) == pytest.approx((42 - 16, 52 - 8))


def test_coverage_of_a_sphere():
    shaded, coverage = render_mesh(VERTS, FACES, view_of(30, 10), WINDOW, 100, 90)
    radius = 32 * FOCAL * 0.3 / math.sqrt(DISTANCE**2 - 0.3**2)
    assert coverage.sum() == pytest.approx(math.pi * radius**2, rel=0.01)
    assert shaded.shape == (100, 90, 3) and coverage.max() == 1
    assert (shaded[coverage == 0] == 0).all()
    rows, columns = np.nonzero(coverage > 0.5)
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((52, 42), abs=0.1)
    # The light comes from the upper left.
    assert shaded[45, 36].sum() > 1.5 * shaded[60, 50].sum()


def test_both_orientations_are_lit_alike():
    ordinary, _ = render_mesh(VERTS, FACES, view_of(0, 0), WINDOW, 100, 90)
    inside_out, _ = render_mesh(VERTS, FACES[:, ::-1], view_of(0, 0), WINDOW, 100, 90)
    np.testing.assert_allclose(ordinary, inside_out, atol=0.5)


def test_image_stays_outside_the_mesh():
    image = np.random.default_rng(0).integers(0, 256, (100, 90, 3)).astype(np.uint8)
    result = mesh_over_image(image, VERTS, FACES, view_of(0, 0), WINDOW)
    _, coverage = render_mesh(VERTS, FACES, view_of(0, 0), WINDOW, 100, 90)
    np.testing.assert_array_equal(result[coverage == 0], image[coverage == 0])
    assert (result[coverage == 1] != image[coverage == 1]).any(axis=1).mean() > 0.95
    assert result.dtype == np.uint8


def test_turntable_fills_every_view():
    box = trimesh.creation.box((0.6, 0.2, 0.3))
    strip = turntable(box.vertices.astype(np.float32), box.faces, views=4, size=48, elevation_deg=0)
    assert strip.shape == (48, 192, 3) and strip.dtype == np.uint8
    widths = [int((strip[:, 48 * i : 48 * i + 48] < 250).any(axis=(0, 2)).sum()) for i in range(4)]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.15)  # front twice as broad as the side
    assert widths[:2] == pytest.approx(widths[2:], abs=1)
    assert (strip[:, :48][0] == 255).all() and (strip[:, :48][:, 0] == 255).all()


def test_glb_reads_back_equal(tmp_path):
    write_glb(tmp_path / "a.glb", VERTS, FACES)
    mesh = read_mesh_file(tmp_path / "a.glb")
    np.testing.assert_array_equal(mesh.verts.astype(np.float32), VERTS)
    np.testing.assert_array_equal(mesh.faces, FACES)
    assert [path.name for path in tmp_path.iterdir()] == ["a.glb"]
    scene = trimesh.load(tmp_path / "a.glb")
    (loaded,) = scene.geometry.values()
    assert loaded.visual.material.baseColorFactor.tolist() == [0, 114, 178, 255]


def test_objects_stand_before_the_camera_as_in_gltf(tmp_path, completed):
    """Two metres away, one to the right and half a metre down, twice as large; and one as it is."""
    matrix = np.array([[2.0, 0, 0, 1], [0, 2, 0, 0.5], [0, 0, 2, 2], [0, 0, 0, 1]])
    objects = [replace(completed, to_camera=matrix), replace(completed, category="stool", to_camera=np.eye(4))]
    write_scene_glb(tmp_path / "a.glb", objects)
    mesh = read_mesh_file(tmp_path / "a.glb")
    first = (2 * VERTS + np.array([1, 0.5, 2])) * np.array([1, -1, -1])
    np.testing.assert_allclose(mesh.verts, np.concatenate([first, VERTS * np.array([1, -1, -1])]), atol=1e-6)
    assert sorted(trimesh.load(tmp_path / "a.glb").geometry) == ["1_chair", "2_stool"]
    with pytest.raises(UsageError, match="expected the place of each, that of number 2 is not known"):
        write_scene_glb(tmp_path / "b.glb", [objects[0], completed])
    assert not (tmp_path / "b.glb").exists()


@pytest.fixture
def completed():
    """An object with the mesh."""
    mask = np.ones((4, 5), bool)
    return CompletedObject("chair", mask, mask, mask, VERTS, FACES, {}, np.zeros(4, np.float32), 0.5)


def test_glb_into_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"a\.glb: cannot write"):
        write_glb(tmp_path / "none" / "a.glb", VERTS, FACES)


NONE = (np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64))


@pytest.mark.parametrize("verts", [NONE[0], np.zeros((1, 3), np.float32)])
def test_an_object_without_a_mesh(tmp_path, verts):
    """It has no viewpoint either: the image stays, and no file is written."""
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    window = np.array([0, 0, 20, 20], np.float32)
    drawn = mesh_over_image(image, verts, NONE[1], {}, window)
    np.testing.assert_array_equal(drawn, image)
    assert drawn is not image
    for make in (lambda: write_glb(tmp_path / "a.glb", verts, NONE[1]), lambda: turntable(verts, NONE[1])):
        with pytest.raises(
            UsageError, match=f"mesh: expected vertices and faces, got {len(verts)} vertices and 0 faces"
        ):
            make()
    assert not list(tmp_path.iterdir())
