"""NMR's files: read as published, rendered by its protocol, refused where they are damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from boxes import ARMCHAIR, PARTS, box_mesh, write_obj
from scipy import ndimage

from shape3d_amodal.cli import main
from shape3d_amodal.errors import DataError
from shape3d_amodal.geometry import cameras
from shape3d_amodal.meshes.mesh import Mesh
from shape3d_amodal.papers.nmr.files import VIEWS, nmr_objects, nmr_voxels
from shape3d_amodal.papers.nmr.network import nmr_viewpoint
from shape3d_amodal.papers.nmr.rendering import render_views, unit_side, write_nmr

BOX = [((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))]


def published(
    folder: Path, synset: str = "02958343", split: str = "test", count: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Files as the data set has them: written by ``numpy.savez_compressed`` without a name."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 24, 4, 64, 64), dtype=np.uint8)
    voxels = rng.random((count, 32, 32, 32)) < 0.5
    np.savez_compressed(folder / f"{synset}_{split}_images.npz", images)
    np.savez_compressed(folder / f"{synset}_{split}_voxels.npz", voxels)
    return images, voxels


def test_published_files_are_read_as_they_are(tmp_path: Path) -> None:
    images, voxels = published(tmp_path)
    published(tmp_path, synset="02691156", count=1)
    published(tmp_path, split="train")
    plane, car = nmr_objects(tmp_path, "test")
    assert (plane.synset, plane.count, car.synset, car.split, car.count) == ("02691156", 1, "02958343", "test", 3)
    blocks = list(car.images(rows=2))
    assert [len(block) for block in blocks] == [2, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), images)
    np.testing.assert_array_equal(np.concatenate(list(car.voxels())), voxels)


def test_unpacked_once_for_random_access(tmp_path: Path) -> None:
    images, _ = published(tmp_path)
    (car,) = nmr_objects(tmp_path, "test")
    unpacked = car.unpacked_images(tmp_path / "cache")
    np.testing.assert_array_equal(unpacked[2, 5], images[2, 5])
    (file,) = (tmp_path / "cache").iterdir()
    before = file.stat().st_mtime_ns
    car.unpacked_images(tmp_path / "cache")
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("images", "voxels", "message"),
    [
        (
            np.zeros((2, 24, 3, 64, 64), np.uint8),
            np.zeros((2, 32, 32, 32), bool),
            r"images\.npz: arr_0: .*N,24,4,64,64",
        ),
        (np.zeros((2, 24, 4, 64, 64), np.float32), np.zeros((2, 32, 32, 32), bool), r"images\.npz: arr_0: .*u1"),
        (
            np.zeros((2, 24, 4, 64, 64), np.uint8),
            np.zeros((1, 32, 32, 32), bool),
            r"voxels\.npz: arr_0: .*the 2 objects",
        ),
        (np.zeros((2, 24, 4, 64, 64), np.uint8), np.zeros((2, 32, 32), bool), r"voxels\.npz: arr_0: "),
        (np.zeros((2, 24, 4, 64, 64), np.uint8), np.full((2, 32, 32, 32), None), r"voxels\.npz: arr_0: .*O"),
    ],
)
def test_other_arrays_are_refused(images: np.ndarray, voxels: np.ndarray, message: str, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "02958343_test_images.npz", images)
    np.savez_compressed(tmp_path / "02958343_test_voxels.npz", voxels)
    with pytest.raises(DataError, match=message):
        nmr_objects(tmp_path, "test")


def test_missing_files(tmp_path: Path) -> None:
    published(tmp_path)
    with pytest.raises(DataError, match="found none"):
        nmr_objects(tmp_path, "val")
    (tmp_path / "02958343_test_voxels.npz").unlink()
    with pytest.raises(DataError, match=r"voxels\.npz"):
        nmr_objects(tmp_path, "test")


def test_cameras_are_those_of_softras_with_z_turned_round() -> None:
    """SoftRas puts the camera of view i at azimuth a = -15 i, at (d cos e sin a, d sin e, -d cos e cos a)."""
    viewpoint = nmr_viewpoint(torch.arange(VIEWS))
    rotations = cameras.rotation(viewpoint.azimuth, viewpoint.elevation, viewpoint.roll).double().numpy()
    for view, rotation in enumerate(rotations):
        a, e, d = math.radians(-15 * view), math.radians(30), 2.732
        softras = np.array([d * math.cos(e) * math.sin(a), d * math.sin(e), -d * math.cos(e) * math.cos(a)])
        centre = rotation.T @ [0, 0, -d]  # where the camera stands: the view's origin, brought back
        np.testing.assert_allclose(centre, softras * [1, 1, -1], atol=1e-6)
    assert viewpoint.scale.tolist() == [1.0] * VIEWS


@pytest.mark.parametrize("view", [0, 1, 7, 18])
def test_renders_show_what_the_camera_sees(view: int) -> None:
    """The covered pixels lie where ``geometry.cameras`` projects points of the surface to."""
    mesh = box_mesh(ARMCHAIR)
    picture = render_views(mesh)[view]
    solid = trimesh.Trimesh(unit_side(mesh), mesh.faces, process=False)
    points = torch.from_numpy(trimesh.sample.sample_surface(solid, 60_000, seed=0)[0]).float()
    ndc = cameras.project(points[None], nmr_viewpoint(torch.tensor([view])))[0]
    columns, rows = ((1 - ndc[:, :2].numpy()) * 32).T
    counts, _, _ = np.histogram2d(rows, columns, bins=64, range=[[0, 64], [0, 64]])
    assert ndimage.binary_dilation(picture[3] > 0)[counts > 0].all()
    assert (counts[picture[3] == 255] > 0).mean() > 0.99
    assert (picture[:3][:, picture[3] == 0] == 0).all()
    assert (picture[:3][:, picture[3] == 255].max(axis=0) > 0).all()


def test_size_and_front() -> None:
    """A cube of side 1: seen from the front its nearer edge is as wide as pinhole geometry has it."""
    views = render_views(box_mesh(BOX))
    assert views.shape == (24, 4, 64, 64)
    assert views.dtype == np.uint8
    # The upper front edge is nearest to the camera: its middle is (0, 0.5, 0.5) in the object frame.
    sine, cosine = 0.5, math.sqrt(3) / 2
    depth = 2.732 - 0.5 * sine - 0.5 * cosine
    width = 64 / (2 * math.tan(math.radians(15)) * depth)
    assert (views[0, 3] > 127).sum(axis=1).max() == pytest.approx(width, abs=1)
    np.testing.assert_allclose(views[0, 3].astype(int), views[12, 3].astype(int), atol=64)  # from behind it is the same
    np.testing.assert_array_equal(views[0, 3, :, :32], views[0, 3, :, :31:-1])


def test_left_and_right() -> None:
    """The one arm is at the chair's +x: from the front it is seen on the right, from behind on the left."""
    mesh = box_mesh(ARMCHAIR)
    mesh.colors[: 6 * 12] = 0
    mesh.colors[6 * 12 :] = 255
    views = render_views(mesh)
    for view, side in ((0, 1), (12, -1)):
        _, columns = np.nonzero(views[view, 0])
        assert side * (columns.mean() - 31.5) > 8


def box_voxels(low: tuple[int, ...], high: tuple[int, ...]) -> np.ndarray:
    grid = np.zeros((32, 32, 32), bool)
    grid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return grid


def scaled(low: tuple[float, ...], high: tuple[float, ...]) -> Mesh:
    """A box whose corners have these cell coordinates in the grid."""
    mesh = box_mesh(BOX)
    verts = np.where(mesh.verts > 0, np.array(high, float), np.array(low, float))
    return Mesh("box", "chair", ((verts - 16) / 31).astype(np.float32), mesh.faces, mesh.colors)


def test_a_closed_box_is_filled_by_y_x_z() -> None:
    box = scaled((4.5, 8.5, 12.5), (10.5, 20.5, 14.5))
    np.testing.assert_array_equal(nmr_voxels(box.verts, box.faces), box_voxels((8, 4, 12), (21, 11, 15)))


def test_what_is_open_is_not_filled() -> None:
    box = scaled((4.5, 4.5, 4.5), (20.5, 20.5, 20.5))
    top = [i for i, face in enumerate(box.faces) if (box.verts[face][:, 1] > 0.1).all()]
    found = nmr_voxels(box.verts, np.delete(box.faces, top, axis=0))
    whole, inside = box_voxels((4, 4, 4), (21, 21, 21)), box_voxels((5, 5, 5), (21, 20, 20))
    np.testing.assert_array_equal(found, whole & ~inside)


def test_the_rule_by_brute_force() -> None:
    """Every cell around every cut of a grid line with a triangle, and every vertex's: found by solving for each."""
    mesh = trimesh.creation.icosphere(subdivisions=1, radius=0.41)
    verts = mesh.vertices + np.array([0.011, 0.023, 0.037])
    points = verts * 31 + 16
    expected = np.zeros((32, 32, 32), bool)
    expected[tuple(np.floor(points).astype(int).T)] = True
    corner = points[mesh.faces[:, 0]]
    edges = np.stack([points[mesh.faces[:, i]] - corner for i in (1, 2)], axis=2)  # [F,3,2]
    for axis, j, k in ((axis, j, k) for axis in range(3) for j in range(32) for k in range(32)):
        others = [(axis + 1) % 3, (axis + 2) % 3]
        facing = np.abs(np.linalg.det(edges[:, others])) > 1e-9
        weights = np.linalg.solve(edges[facing][:, others], ([j, k] - corner[facing][:, others])[..., None])
        inside = (weights[:, :, 0] >= 0).all(axis=1) & (weights.sum(axis=(1, 2)) <= 1)
        for place in (corner[facing] + (edges[facing] @ weights)[..., 0])[inside]:
            for cell in ((j, k), (j - 1, k), (j, k - 1), (j - 1, k - 1)):
                at = [0, 0, 0]
                at[axis], at[others[0]], at[others[1]] = int(place[axis]), *cell
                expected[tuple(at)] = True
    outside = ~expected
    reached = np.zeros_like(expected)
    reached[0, 0, 0] = True
    while True:  # what is reached from a corner, over faces
        grown = reached.copy()
        for axis in range(3):
            for step in (1, -1):
                moved = np.roll(reached, step, axis)
                moved[tuple(0 if step > 0 and i == axis else -1 if i == axis else slice(None) for i in range(3))] = (
                    False
                )
                grown |= moved
        grown &= outside
        if (grown == reached).all():
            break
        reached = grown
    np.testing.assert_array_equal(nmr_voxels(verts, mesh.faces), (~reached).transpose(1, 0, 2))


def test_a_synset_without_a_usable_mesh_gets_no_files(tmp_path: Path) -> None:
    write_obj(tmp_path / "meshes" / "lamp" / "a.obj", box_mesh(PARTS["lamp/pole"]))
    (tmp_path / "meshes" / "chair").mkdir()
    (tmp_path / "meshes" / "chair" / "bad.obj").write_text("v 0 0 0\n")
    assert write_nmr(str(tmp_path / "meshes"), tmp_path / "out", "val") == [tmp_path / "out" / "03636649_val.json"]
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("chair/one_arm", "chair/four_legs", "lamp/pole"):
        write_obj(tmp_path / "meshes" / f"{name}.obj", box_mesh(PARTS[name]))
    (tmp_path / "meshes" / "chair" / "bad.obj").write_text("v 0 0 0\n")
    with (tmp_path / "meshes" / "lamp" / "pole.obj").open("a") as file:
        file.write("l 1 2\n")
    command = ["nmr", "--meshes", str(tmp_path / "meshes"), "--split", "val", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    lamps = json.loads((tmp_path / "out" / "03636649_val.json").read_text())
    assert lamps["notes"] == {"lamp/pole.obj": ["1 statement of lines left out"]}
    chair, lamp = nmr_objects(tmp_path / "out", "val")
    assert (chair.synset, chair.count, lamp.synset, lamp.count) == ("03001627", 2, "03636649", 1)
    listed = json.loads((tmp_path / "out" / "03001627_val.json").read_text())
    assert listed["objects"] == ["chair/four_legs.obj", "chair/one_arm.obj"]
    assert list(listed["skipped"]) == ["chair/bad.obj"]
    assert listed["notes"] == {}
    arm = Mesh("", "", box_mesh(ARMCHAIR).verts, box_mesh(ARMCHAIR).faces, np.full((84, 3), 180, np.uint8))
    np.testing.assert_array_equal(next(chair.images())[1], render_views(arm))
    np.testing.assert_array_equal(next(chair.voxels())[1], nmr_voxels(unit_side(arm), arm.faces))
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "out").iterdir()}
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == ["03001627_val: 2 objects", "03636649_val: 1 object"]
    assert before == {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "03001627_val_voxels.npz").write_bytes(b"damaged")
    assert main(command) == 0
    assert {name: data for name, (data, _) in before.items()} == {
        path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()
    }
    (tmp_path / "meshes" / "chair" / "bad.obj").unlink()
    assert main(command) == 3  # other meshes
    assert main([*command[:-4], "--out", str(tmp_path / "out")]) == 2  # no split
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
