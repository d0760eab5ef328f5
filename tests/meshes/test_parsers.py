"""What the readers of mesh files give when the file is good; bad files are in tests/attacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes import parsers
from shape3d_amodal.meshes.formats import mesh_data

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=float)


def test_obj(tmp_path: Path) -> None:
    lines = [
        "mtllib /etc/passwd",
        "o thing # comment",
        *(f"v {x} {y} {z} 0.5 0.5 0.5" for x, y, z in SQUARE[:3]),
        "vt 0 0",
        "usemtl red",
        "f 1/1 2//1 3/1/1 # triangle",
        "\tv 0 1 0",
        "f -4 2 \\",
        " 3 -1",
    ]
    (tmp_path / "a.obj").write_text("\n".join(lines))
    mesh = parsers.read_mesh_file(tmp_path / "a.obj")
    np.testing.assert_array_equal(mesh.verts, SQUARE)
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2], [0, 1, 2], [0, 2, 3]])
    assert mesh.colors is None


@pytest.mark.parametrize("suffix", ["obj", "ply", "off", "glb"])
def test_a_mesh_written_by_trimesh_is_read_the_same(suffix: str, tmp_path: Path) -> None:
    original = trimesh.creation.icosphere(subdivisions=1)
    original.export(tmp_path / f"a.{suffix}")
    mesh = parsers.read_mesh_file(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(mesh.verts, original.vertices, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, original.faces)
    assert (mesh.verts.dtype, mesh.faces.dtype) == (np.float64, np.int64)


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian"])
def test_ply_face_colors(encoding: str, tmp_path: Path) -> None:
    faces = ["0 1 2 255 0 0", "0 2 3 0 0 255"]
    header = (
        f"ply\nformat {encoding} 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 2\nproperty list uchar int vertex_indices\nproperty uchar red\nproperty uchar green\n"
        "property uchar blue\nend_header\n"
    )
    if encoding == "ascii":
        rows = [" ".join(map(str, corner)) for corner in SQUARE] + [f"3 {face}" for face in faces]
        body = "\n".join(rows).encode()
    else:
        body = SQUARE.astype("<f4").tobytes()
        for face in faces:
            *corners, red, green, blue = map(int, face.split())
            body += b"\3" + np.array(corners, "<i4").tobytes() + bytes([red, green, blue])
    (tmp_path / "a.ply").write_bytes(header.encode() + body)
    mesh = parsers.read_mesh_file(tmp_path / "a.ply")
    np.testing.assert_array_equal(mesh.verts, SQUARE)
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2], [0, 2, 3]])
    np.testing.assert_array_equal(mesh.colors, [[255, 0, 0], [0, 0, 255]])


def test_off_quads_become_triangles(tmp_path: Path) -> None:
    rows = [" ".join(map(str, corner)) for corner in SQUARE]
    (tmp_path / "a.off").write_text("OFF # a square\n4 1 0\n" + "\n".join(rows) + "\n4 0 1 2 3\n")
    mesh = parsers.read_mesh_file(tmp_path / "a.off")
    assert trimesh.Trimesh(mesh.verts, mesh.faces, process=False).area == pytest.approx(1.0)


def test_a_glb_scene_is_flattened_with_its_transforms(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    box = trimesh.creation.box()
    mirror = np.diag([-2.0, 1, 1, 1])
    mirror[:3, 3] = [10, 0, 0]
    scene.add_geometry(box, geom_name="box")
    scene.graph.update("second", geometry="box", matrix=mirror)
    scene.export(tmp_path / "a.glb")
    mesh = parsers.read_mesh_file(tmp_path / "a.glb")
    np.testing.assert_allclose([mesh.verts.min(0), mesh.verts.max(0)], [[-0.5] * 3, [11, 0.5, 0.5]])
    volume = trimesh.Trimesh(mesh.verts, mesh.faces, process=False).volume
    assert volume == pytest.approx(1 + 2)  # the mirrored box keeps its outside outside


def test_open13_layout(tmp_path: Path) -> None:
    verts = np.array([[0, 0, 0], [32767, 0, 0], [0, -32767, 0]], np.int16)
    colors = np.array([[1, 2, 3]], np.uint8)
    np.savez_compressed(tmp_path / "a.npz", v=verts, f=np.array([[0, 1, 2]], np.uint32), rgb=colors)
    mesh = parsers.read_mesh_file(tmp_path / "a.npz")
    np.testing.assert_array_equal(mesh.verts, [[0, 0, 0], [1, 0, 0], [0, -1, 0]])
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2]])
    np.testing.assert_array_equal(mesh.colors, colors)


@pytest.mark.parametrize(("cap", "field"), [("MAX_VERTICES", "vertices"), ("MAX_FACES", "faces")])
@pytest.mark.parametrize("suffix", ["obj", "ply", "off", "glb"])
def test_caps(cap: str, field: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trimesh.creation.box().export(tmp_path / f"a.{suffix}")
    parsers.read_mesh_file(tmp_path / f"a.{suffix}")
    monkeypatch.setattr(mesh_data, cap, 7)
    with pytest.raises(DataError, match=rf"{field}|line \d+"):
        parsers.read_mesh_file(tmp_path / f"a.{suffix}")
