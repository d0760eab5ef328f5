"""What ``safe_io`` reads when the file is good; bad files are in tests/attacks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from shape3d_amodal.errors import DataError
from shape3d_amodal.files import safe_io
from shape3d_amodal.files.atomic import write_atomic, write_json_atomic
from shape3d_amodal.meshes import parsers
from shape3d_amodal.meshes.formats import mesh_data

RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=float)


def saved(image: Image.Image, path: Path, **options: object) -> np.ndarray:
    image.save(path, **options)
    pixels = safe_io.read_image(path)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (image.height, image.width, 3)
    return pixels


class TestImages:
    def test_rgb(self, tmp_path: Path) -> None:
        rgb = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        np.testing.assert_array_equal(saved(Image.fromarray(rgb), tmp_path / "a.png"), rgb)

    def test_grey_is_repeated(self, tmp_path: Path) -> None:
        np.testing.assert_array_equal(saved(Image.fromarray(RAMP), tmp_path / "a.png")[..., 1], RAMP)

    def test_16_bit_grey_keeps_its_high_byte(self, tmp_path: Path) -> None:
        wide = RAMP.astype(np.uint16) * 256 + 77
        np.testing.assert_array_equal(saved(Image.fromarray(wide), tmp_path / "a.png")[..., 2], RAMP)

    def test_palette(self, tmp_path: Path) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([255, 0, 0, 0, 0, 255])
        image.putdata([1, 0])
        np.testing.assert_array_equal(saved(image, tmp_path / "a.png"), [[[0, 0, 255], [255, 0, 0]]])

    def test_transparency_is_dropped(self, tmp_path: Path) -> None:
        image = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
        np.testing.assert_array_equal(saved(image, tmp_path / "a.png"), [[[10, 20, 30]] * 2])


class TestJson:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ('{"a": [1, 2.5, null, true, "\\u00e4"]}', {"a": [1, 2.5, None, True, "ä"]}),
            ('\ufeff{"a": 1, "a": 2}', {"a": 2}),
            ("[" * 100 + "]" * 100, None),
        ],
    )
    def test_values(self, text: str, value: object, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(text, encoding="utf-8")
        read = safe_io.read_json(tmp_path / "a.json")
        assert read == value if value else isinstance(read, list)

    @pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999", "-1e400"])
    def test_a_number_that_is_refused_is_told_with_its_place(self, token: str, tmp_path: Path) -> None:
        before = '{"NaN, 1e999": "\\"Infinity, -Infinity\\"",\n "1e9990": -1e40,\n  "area": '
        (tmp_path / "a.json").write_text(f'{before}{token}, "b": {token}}}')
        with pytest.raises(DataError, match=rf"at line 3, column 11: .*, got {token}"):
            safe_io.read_json(tmp_path / "a.json")

    def test_the_limit_is_inclusive(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"12345")
        assert safe_io.read_bytes(tmp_path / "a", 5) == b"12345"
        with pytest.raises(DataError, match="at most 4 bytes"):
            safe_io.read_bytes(tmp_path / "a", 4)


class TestPaths:
    @pytest.mark.parametrize("name", ["a.png", "x/a.png", "./a.png", "x/.../b c.png", "..a", "ä.png"])
    def test_inside(self, name: str, tmp_path: Path) -> None:
        assert safe_io.resolve_inside(tmp_path, name) == (tmp_path / name).resolve()

    def test_a_link_within_the_folder_and_a_linked_root_are_fine(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "a").write_bytes(b"")
        (tmp_path / "set" / "b").symlink_to("a")
        (tmp_path / "root").symlink_to("set")
        assert safe_io.resolve_inside(tmp_path / "root", "b") == (tmp_path / "set" / "a").resolve()

    def test_a_folder_of_a_like_name_is_outside(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        (tmp_path / "set2").mkdir()
        (tmp_path / "set" / "up").symlink_to(tmp_path / "set2")
        with pytest.raises(DataError, match="symbolic link"):
            safe_io.resolve_inside(tmp_path / "set", "up/a")


class TestMeshes:
    def test_obj(self, tmp_path: Path) -> None:
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
    def test_a_mesh_written_by_trimesh_is_read_the_same(self, suffix: str, tmp_path: Path) -> None:
        original = trimesh.creation.icosphere(subdivisions=1)
        original.export(tmp_path / f"a.{suffix}")
        mesh = parsers.read_mesh_file(tmp_path / f"a.{suffix}")
        np.testing.assert_allclose(mesh.verts, original.vertices, atol=1e-6)
        np.testing.assert_array_equal(mesh.faces, original.faces)
        assert (mesh.verts.dtype, mesh.faces.dtype) == (np.float64, np.int64)

    @pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian"])
    def test_ply_face_colors(self, encoding: str, tmp_path: Path) -> None:
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

    def test_off_quads_become_triangles(self, tmp_path: Path) -> None:
        rows = [" ".join(map(str, corner)) for corner in SQUARE]
        (tmp_path / "a.off").write_text("OFF # a square\n4 1 0\n" + "\n".join(rows) + "\n4 0 1 2 3\n")
        mesh = parsers.read_mesh_file(tmp_path / "a.off")
        assert trimesh.Trimesh(mesh.verts, mesh.faces, process=False).area == pytest.approx(1.0)

    def test_a_glb_scene_is_flattened_with_its_transforms(self, tmp_path: Path) -> None:
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

    def test_open13_layout(self, tmp_path: Path) -> None:
        verts = np.array([[0, 0, 0], [32767, 0, 0], [0, -32767, 0]], np.int16)
        colors = np.array([[1, 2, 3]], np.uint8)
        np.savez_compressed(tmp_path / "a.npz", v=verts, f=np.array([[0, 1, 2]], np.uint32), rgb=colors)
        mesh = parsers.read_mesh_file(tmp_path / "a.npz")
        np.testing.assert_array_equal(mesh.verts, [[0, 0, 0], [1, 0, 0], [0, -1, 0]])
        np.testing.assert_array_equal(mesh.faces, [[0, 1, 2]])
        np.testing.assert_array_equal(mesh.colors, colors)

    @pytest.mark.parametrize(("cap", "field"), [("MAX_VERTICES", "vertices"), ("MAX_FACES", "faces")])
    @pytest.mark.parametrize("suffix", ["obj", "ply", "off", "glb"])
    def test_caps(self, cap: str, field: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        trimesh.creation.box().export(tmp_path / f"a.{suffix}")
        parsers.read_mesh_file(tmp_path / f"a.{suffix}")
        monkeypatch.setattr(mesh_data, cap, 7)
        with pytest.raises(DataError, match=rf"{field}|line \d+"):
            parsers.read_mesh_file(tmp_path / f"a.{suffix}")


class TestWriting:
    def test_replaces_whole(self, tmp_path: Path) -> None:
        write_atomic(tmp_path / "a", b"old")
        write_json_atomic(tmp_path / "a", {"x": [1, 2.5]})
        assert safe_io.read_json(tmp_path / "a") == {"x": [1, 2.5]}
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_a_failure_leaves_the_old_file_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_atomic(tmp_path / "a", b"old")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match="No space left"):
            write_atomic(tmp_path / "a", b"new")
        assert (tmp_path / "a").read_bytes() == b"old"
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_nan_is_refused_before_anything_is_written(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="JSON"):
            write_json_atomic(tmp_path / "a", [float("nan")])
        assert not list(tmp_path.iterdir())

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="cannot write"):
            write_atomic(tmp_path / "no" / "a", b"")
