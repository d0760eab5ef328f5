"""Sound files that are written oddly, and damaged ones that look sound; expected values are counted by hand."""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
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


NAMES = ["newgroup", "O", "#", "o", "g", "usemtl", "material", "call", "mtllib", "maplib", "usemap", "shadow_obj"]


@pytest.mark.parametrize("line", ["\\", "g a b\\  ", "csh a\\", "trace_obj a\\", *(f"{key} C:\\a\\" for key in NAMES)])
def test_a_backslash_behind_a_name_joins_nothing(tmp_path: Path, line: str) -> None:
    mesh = read(tmp_path, "a.obj", f"{line}\n{VERTICES}v 5 5 5\nf 1 2 3 4\n")
    assert len(mesh.verts) == 5 and area(mesh) == pytest.approx(1)


@pytest.mark.parametrize("end", ["\\\n", "\\ \n", "\\\t\r\n", "\\\r\n"])
def test_a_backslash_behind_numbers_joins_the_next_line(tmp_path: Path, end: str) -> None:
    mesh = read(tmp_path, "a.obj", f"v 0 0{end} 0\nv 1 0 0\nv 1 1 0\nv{end}0 1 0\nf{end} 1 2{end} 3 4\n")
    assert len(mesh.verts) == 4 and area(mesh) == pytest.approx(1)


ARGUMENTS = {
    "v": "0 0 0 1", "vt": "0 0", "vn": "0 0 1", "vp": "0 0", "cstype": "rat bezier", "deg": "3 3", "bmat": "u 1",
    "step": "1 1", "p": "1", "l": "1 2", "f": "1 2 4", "fo": "1 2 4", "curv": "0 1 1 2", "curv2": "1 2",
    "surf": "0 1 0 1 1 2", "parm": "u 0 1", "trim": "0 1 1", "hole": "0 1 1", "scrv": "0 1 1", "sp": "1", "end": "",
    "con": "1 0 1 1", "s": "1", "mg": "1 0.5", "bevel": "on", "c_interp": "on", "d_interp": "on", "lod": "1",
    "ctech": "cparm 1", "stech": "cparma 1 1", "bzp": "1 2", "bsp": "1 2", "cdc": "1 2", "cdp": "1 2", "res": "3",
}  # fmt: skip
"""All statements of the format whose arguments are no names, those of old versions too, each with some arguments."""


@pytest.mark.parametrize("key", ARGUMENTS)
def test_a_statement_that_goes_on_swallows_the_next_line(key: str, tmp_path: Path) -> None:
    """What stands behind the backslash is no statement of its own, whatever it looks like."""
    number = "1" if key in ("v", "f", "fo") else "f 1 2 4"  # of which a letter would be refused
    mesh = read(tmp_path, "a.obj", f"{VERTICES}{key} {ARGUMENTS[key]} \\\n{number}\nf 1 2 3\n")
    assert len(mesh.faces) == {"f": 3, "fo": 3}.get(key, 1)


LEFT_OUT = {
    "p 1": "statements of points", "l 1 2": "statements of lines", "curv 0 1 1 2": "statements of curves",
    "curv2 1 2": "statements of curves", "surf 0 1 0 1 1 2": "statements of free-form surfaces",
    "bzp 1 2": "statements of Bezier patches (bzp)", "bsp 1 2": "statements of B-spline patches (bsp)",
    "cdc 1 2 3": "statements of Cardinal curves (cdc)", "cdp 1 2": "statements of Cardinal patches (cdp)",
    "call other.obj 1": "statements of called files (call)", "csh -ls": "statements of shell commands (csh)",
}  # fmt: skip


@pytest.mark.parametrize("line", LEFT_OUT)
def test_geometry_that_is_left_out_is_told_once_with_its_count(line: str, tmp_path: Path) -> None:
    mesh = read(tmp_path, "a.obj", f"{VERTICES}{line}\n{line}\n f 1 2 3\n{line}\n")
    assert mesh.notes == (f"3 {LEFT_OUT[line]} left out",)


def test_what_has_no_shape_of_its_own_needs_no_word(tmp_path: Path) -> None:
    lines = "mtllib a.mtl\nusemtl a\ng a\ns 1\nmg 1 2\nlod 1\nres 3 4\nvp 0 0\nbevel on\nshadow_obj a.obj\n"
    assert read(tmp_path, "a.obj", f"{lines}{VERTICES}f 1 2 3\n").notes == ()


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


EDGES = "element edge 2\nproperty int vertex1\nproperty int vertex2\n"
ROWS = {"vertex": "0 0 0\n1 0 0\n0 1 0\n", "face": "3 0 1 2\n", "edge": "0 1\n1 2\n"}


def text_ply(*order: str, more: str = "") -> str:
    """The triangle as text: its elements in this order, and ``more`` behind them."""
    heads = {
        "vertex": f"element vertex 3\n{XYZ}",
        "face": "element face 1\nproperty list uchar int vertex_indices\n",
        "edge": EDGES,
    }
    head = "".join(heads[name] for name in order)
    return f"ply\nformat ascii 1.0\n{head}end_header\n{''.join(ROWS[name] for name in order)}{more}"


EDGES_LEFT_OUT = "2 of the element 'edge' left out"


@pytest.mark.parametrize(
    ("order", "more", "notes"),
    [
        (("vertex", "face"), "", ()),
        (("vertex", "face"), "\n \n", ()),
        (("vertex", "face"), "3 0 1 2\n", ("1 line behind the last row left out",)),
        (("vertex", "face"), "3 0 1 2\n\n3 2 1 0\n", ("2 lines behind the last row left out",)),
        (("face", "vertex"), "0 0 5\n", ("1 line behind the last row left out",)),
        (("vertex", "face", "edge"), "", (EDGES_LEFT_OUT,)),
        (("edge", "vertex", "face"), "7\n", (EDGES_LEFT_OUT, "1 line behind the last row left out")),
        (("vertex", "face", "edge"), "2 0\n0 1\n", (EDGES_LEFT_OUT, "2 lines behind the last row left out")),
    ],
)
def test_rows_behind_the_last_one_of_a_text_get_a_word(
    order: tuple[str, ...], more: str, notes: tuple[str, ...], tmp_path: Path
) -> None:
    mesh = read(tmp_path, "a.ply", text_ply(*order, more=more))
    assert area(mesh) == pytest.approx(0.5) and mesh.notes == notes


def test_bytes_behind_elements_that_are_not_read_get_a_word(tmp_path: Path) -> None:
    content = ply("binary_little_endian", XYZ, b"").replace(b"end_header", EDGES.encode() + b"end_header") + TRIANGLE
    assert read(tmp_path, "a.ply", content + bytes(16)).notes == (EDGES_LEFT_OUT,)
    notes = (EDGES_LEFT_OUT, "1 byte behind the last row left out")
    assert read(tmp_path, "b.ply", content + bytes(17)).notes == notes


def test_rows_that_the_header_describes_wrongly_are_refused_before_elements_that_are_not_read(tmp_path: Path) -> None:
    """Each vertex has a number more than the header says, and still the numbers make a triangle.

    The edges behind the faces are not read otherwise.
    """
    content = text_ply("vertex", "face", "edge")
    content = content.replace(ROWS["vertex"] + ROWS["face"], "0 0 0 1\n0 0 0 1\n0 3 0 1\n2 0 1\n")
    with pytest.raises(DataError, match="expected 17 numbers as the header lists, got 19"):
        read(tmp_path, "a.ply", content)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian"])
@pytest.mark.parametrize(
    ("first", "others", "last"),
    [
        ("\r\n", "\n", "\n"),
        ("\n", "\r\n", "\r\n"),
        ("\r\n", "\r\n", "\n"),
        ("\n", "\n", "\r\n"),
        ("\r", "\r", "\r"),
        ("\n", "\r", "\n"),
        ("\r", "\n", "\r\n"),
        ("\r\n", "\r", "\r"),
        (" \r\n", "\t\n", "\n"),
    ],
)
def test_line_ends_of_a_header_may_differ(first: str, others: str, last: str, kind: str, tmp_path: Path) -> None:
    """The first byte of the binary body is that of a line end, too."""
    start = b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n" if kind == "ascii" else b"\n\0\0\0" + TRIANGLE[4:]  # 1.4e-44
    head, mark, _ = ply(kind, XYZ, b"").decode().rpartition("end_header")
    top, _, rest = head.partition("\n")
    text = top + first + rest.replace("\n", others) + mark + last
    mesh = read(tmp_path, "a.ply", text.encode() + start)
    assert area(mesh) == pytest.approx(0.5) and mesh.notes == ()
    np.testing.assert_allclose(mesh.verts, [[0, 0, 0], [1, 0, 0], [0, 1, 0]], atol=1e-40)


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_lines_may_end_in_several_ways(end: str, tmp_path: Path) -> None:
    """The rows of colours are only told by the lines."""
    rows = [f"{line} 9 9 9" for line in SQUARE.splitlines()]
    content = f"COFF{end}4 1 0{end}" + end.join(rows) + f"{end}4 0 1 2 3 8 8 8{end}\n"
    assert area(read(tmp_path, "a.off", content)) == pytest.approx(1)
    assert area(read(tmp_path, "b.off", content.replace("\n", "\r\n", 1))) == pytest.approx(1)
    body = ROWS["vertex"].replace("\n", end) + "3 0 1 2\n3 0 2 1\r\n"
    mesh = read(tmp_path, "a.ply", text_ply("vertex", "face").partition("0 0 0")[0] + body)
    assert mesh.notes == ("1 line behind the last row left out",)


def test_one_is_no_plural(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 1 face as the header says"):
        read(tmp_path, "a.ply", text_ply("vertex", "face").rpartition("3 0 1 2")[0])
    with pytest.raises(DataError, match="expected 4 vertices and 1 face, a line each, got 1 line that"):
        read(tmp_path, "a.off", "OFF\n4 1 0\n0 0 0\n")


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


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d" * 32 + "\nsize 12345\n"


@pytest.mark.parametrize("suffix", ["obj", "ply", "off", "GLB", "npz"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (LFS.encode(), "expected a mesh, got a Git LFS pointer; run git lfs pull"),
        (gzip.compress(VERTICES.encode(), mtime=0), "expected a mesh, got a gzip file; unpack it"),
        (b"", "expected a mesh, got an empty file; replace it"),
    ],
)
def test_what_came_in_place_of_a_mesh_is_told(content: bytes, what: str, suffix: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, f"a.{suffix}", content)
    assert str(caught.value) == f"{tmp_path / f'a.{suffix}'}: {what}"


def test_a_zip_file_is_a_mesh_as_npz_alone(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.obj", "w") as file:
        file.writestr("b.obj", VERTICES)
    with pytest.raises(DataError, match="expected a mesh, got a zip file; unpack it"):
        read(tmp_path, "c.obj", (tmp_path / "a.obj").read_bytes())


@pytest.mark.parametrize(
    "head", ["off\n4 2 0", "off 4 2 0", "off4 2 0", "# no word\n4 2 0", "4 2 5", " 4\t2 0 # counts\r", "\n\n4 2 0"]
)
def test_the_word_off_may_be_small_or_missing(tmp_path: Path, head: str) -> None:
    """The manual of Geomview: it is recommended but optional, as many existing files lack it."""
    rows = f"{SQUARE}3 0 1 2 255 0 0\n3 0 2 3\n"
    mesh = read(tmp_path, "a.off", f"{head}\n{rows}")
    expected = read(tmp_path, "b.off", f"OFF\n4 2 0\n{rows}")
    np.testing.assert_array_equal(mesh.verts, expected.verts)
    np.testing.assert_array_equal(mesh.faces, expected.faces)
    assert mesh.notes == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{SQUARE}4 0 1 2 3\n", "expected OFF and the counts"),
        (f"4 1\n{SQUARE}4 0 1 2 3\n", "expected OFF and the counts"),
        (f"4 1 0 0\n{SQUARE}4 0 1 2 3\n", "expected OFF and the counts"),
        (f"4 1.5 0\n{SQUARE}4 0 1 2 3\n", "expected OFF and the counts"),
        (f"-4 1 0\n{SQUARE}4 0 1 2 3\n", "expected OFF and the counts"),
        (f"5 1 0\n{SQUARE}4 0 1 2 3\n", "expected 5 vertices and 1 face, a line each, got 5 lines"),
        (f"4 1 0\n{SQUARE}4 0 1 2 3\n1 2 3\n", "expected 4 vertices and 1 face, a line each, got 6 lines"),
        ("4 1 0", "expected OFF and the counts"),
        (f"coff\n4 1 0\n{SQUARE}4 0 1 2 3\n", "expected OFF and the counts"),
        (f"office\n4 1 0\n{SQUARE}4 0 1 2 3\n", "expected OFF and the counts"),
    ],
)
def test_a_missing_word_needs_counts_that_fit(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, "a.off", content)
