"""Sound files that are written oddly, and damaged ones that look sound; expected values are counted by hand."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from shape3d_amodal.cli import main
from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.parsers import read_mesh_file

SQUARE = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"
VERTICES = "".join(f"v {line}\n" for line in SQUARE.splitlines())


def read(tmp_path: Path, name: str, content: str | bytes):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_mesh_file(file)


def area(mesh) -> float:
    corners = mesh.verts[mesh.faces]
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float(np.linalg.norm(crossed, axis=1).sum() / 2)


@pytest.mark.parametrize(
    "line",
    ["newgroup C:\\a\\", "O C:\\a\\", "# C:\\a\\", "o C:\\a\\", "usemtl a\\", "\\", "g a b\\  ", "material x\\"],
)
def test_a_backslash_behind_a_name_joins_nothing(tmp_path: Path, line: str) -> None:
    mesh = read(tmp_path, "a.obj", f"{line}\n{VERTICES}v 5 5 5\nf 1 2 3 4\n")
    assert len(mesh.verts) == 5 and area(mesh) == pytest.approx(1)


@pytest.mark.parametrize("end", ["\\\n", "\\ \n", "\\\t\r\n", "\\\r\n"])
def test_a_backslash_behind_numbers_joins_the_next_line(tmp_path: Path, end: str) -> None:
    mesh = read(tmp_path, "a.obj", f"v 0 0{end} 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2{end} 3 4\n")
    assert len(mesh.verts) == 4 and area(mesh) == pytest.approx(1)


def test_the_old_name_of_faces(tmp_path: Path) -> None:
    assert area(read(tmp_path, "a.obj", f"{VERTICES}f 1 2 3\nfo 1 3 4\n")) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.obj", f"{VERTICES}f 1 2\nf 1 2 3 4\n"),
        ("a.off", f"OFF\n4 2 0\n{SQUARE}2 0 1\n4 0 1 2 3\n"),
        (
            "a.ply",
            "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
            f"element face 2\nproperty list uchar int vertex_indices\nend_header\n{SQUARE}2 0 1\n4 0 1 2 3\n",
        ),
    ],
)
def test_faces_of_two_corners_are_left_out_with_a_word(tmp_path: Path, name: str, content: str) -> None:
    mesh = read(tmp_path, name, content)
    assert area(mesh) == pytest.approx(1) and "fewer than 3 corners" in mesh.notes[0]


@pytest.mark.parametrize("head", ["OFF4 2 0", "OFF4 2", "OFF 4 2 0", "OFF\n4 2 0", "OFF# head\n4 2 0"])
def test_counts_behind_the_word_off(tmp_path: Path, head: str) -> None:
    """As in ModelNet40, whose files often begin with words such as OFF490."""
    mesh = read(tmp_path, "a.off", f"{head}\n{SQUARE}3 0 1 2\n3 0 2 3\n")
    assert len(mesh.verts) == 4 and area(mesh) == pytest.approx(1)


@pytest.mark.parametrize(("head", "more"), [("NOFF", 3), ("COFF", 3), ("STOFF", 2), ("STCNOFF", 8)])
def test_rows_must_have_what_the_word_promises(tmp_path: Path, head: str, more: int) -> None:
    whole = "".join(f"{line} {' '.join(['0'] * more)}\n" for line in SQUARE.splitlines())
    assert area(read(tmp_path, "a.off", f"{head}\n4 1 0\n{whole}4 0 1 2 3\n")) == pytest.approx(1)
    split = "".join(f"{line}\n{' '.join(['3'] * more)}\n" for line in SQUARE.splitlines())
    with pytest.raises(DataError, match=f"expected {3 + more} numbers, got 3"):
        read(tmp_path, "b.off", f"{head}\n4 1 0\n{split}4 0 1 2 3\n")


def ply(kind: str, vertex: str, body: bytes, count: int = 3) -> bytes:
    head = f"ply\nformat {kind} 1.0\nelement vertex {count}\n{vertex}element face 1\n"
    return f"{head}property list uchar int vertex_indices\nend_header\n".encode() + body


XYZ = "property float x\nproperty float y\nproperty float z\n"
TRIANGLE = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0) + struct.pack("<B3i", 3, 0, 1, 2)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian"])
@pytest.mark.parametrize(
    "vertex", [f"{XYZ}property float x\n", f"{XYZ}element vertex 3\n{XYZ}", f"property float y\n{XYZ}"]
)
def test_what_is_named_twice_is_refused(tmp_path: Path, kind: str, vertex: str) -> None:
    with pytest.raises(DataError, match="more than once; export the mesh anew"):
        read(tmp_path, "a.ply", ply(kind, vertex, TRIANGLE * 3))


def test_bytes_behind_the_last_face_get_a_word(tmp_path: Path) -> None:
    mesh = read(tmp_path, "a.ply", ply("binary_little_endian", XYZ, TRIANGLE + b"\0\n"))
    assert area(mesh) == pytest.approx(0.5) and mesh.notes == ("2 bytes behind the last row left out",)
    assert read(tmp_path, "b.ply", ply("binary_little_endian", XYZ, TRIANGLE)).notes == ()


def test_damage_in_one_file_does_not_end_the_list(tmp_path: Path) -> None:
    """A number that runs into damage in the JSON of a GLB."""
    folder = tmp_path / "meshes" / "chair"
    folder.mkdir(parents=True)
    text = b'{"asset": {"version": "2.0"}, "x": 1e400ufferView}'
    text += b" " * (-len(text) % 4)
    chunk = struct.pack("<II", len(text), 0x4E4F534A) + text
    (folder / "bad.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunk)) + chunk)
    (folder / "good.obj").write_text(f"{VERTICES}f 1 2 3 4\n")
    assert main(["meshes", "--meshes", str(tmp_path / "meshes"), "--out", str(tmp_path / "m.json")]) == 0
    listed = json.loads((tmp_path / "m.json").read_text())
    assert listed["usable"] == 1 and "not valid JSON" in listed["skipped"]["chair/bad.glb"]
