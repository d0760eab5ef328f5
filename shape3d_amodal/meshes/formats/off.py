"""Object File Format as Geomview, CGAL and MeshLab write it, as text."""

from __future__ import annotations

import re

import numpy as np

from shape3d_amodal.errors import DataError, counted
from shape3d_amodal.meshes.formats.mesh_data import MeshData, cap_faces, cap_vertices, fitting
from shape3d_amodal.meshes.formats.text import Numbers, as_integers, numbers, without_mark
from shape3d_amodal.meshes.formats.triangulation.polygons import triangulate

_HEAD = re.compile(rb"\s*(?:((?:ST|C|N)*)(4?n?)OFF|off)(?=[\s\d]|$)[ \t]*(BINARY\b)?")
_COUNTS = re.compile(rb"\s*[1-9]\d*[ \t]+[1-9]\d*[ \t]+\d+[ \t]*(?=[\r\n])")
"""The first line of a file without the keyword, which is optional by the manual of Geomview."""
_MORE = {b"ST": 2, b"C": 3, b"N": 3}
"""Numbers at least that a prefix adds to each vertex: texture coordinates, a colour, a normal."""
_COMMENT = re.compile(rb"#[^\r\n]*")


def parse_off(data: bytes) -> MeshData:
    """Vertices and polygons; normals, colours and texture coordinates are not read."""
    text = _COMMENT.sub(b"", without_mark(data))
    prefix, body = _head(text)
    found = numbers(text[body:], "numbers")
    per_line = found.per_line
    if len(per_line) == 0 or per_line[0] < 2:
        raise DataError("expected the counts of vertices and faces on one line behind OFF; export the mesh anew")
    verts, faces = (fitting(int(count), data, "counts") for count in as_integers(found.values[:2], "counts"))
    if min(verts, faces) < 0:
        raise DataError(f"expected counts of at least 0, got {verts} and {faces}; export the mesh anew", field="counts")
    cap_vertices(verts)
    cap_faces(faces)
    more = sum(_MORE[word] for word in re.findall(rb"ST|C|N", prefix))
    rows = _rows(found, verts, faces, more)
    points = found.values[rows[:verts, None] + np.arange(3)]
    sizes = as_integers(found.values[rows[verts:]], "faces")
    corners = as_integers(_behind(found.values, rows[verts:], sizes), "faces")
    cut = triangulate(points, corners, sizes)
    behind = len(per_line) - 1 - verts - faces
    if behind > 0 and not body:  # other tables of numbers may begin like this
        raise DataError(_short(verts, faces, len(per_line) - 1), field="header")
    rest = (f"{counted(behind, 'line', 'lines')} behind the last face left out",) if behind > 0 else ()
    return MeshData(cut.extended(points), cut.faces, None, (*cut.notes, *rest))


def _head(text: bytes) -> tuple[bytes, int]:
    """The prefix of the keyword OFF, and where the counts begin: 0 without a keyword.

    Raises:
        DataError: there is neither the keyword nor a line of counts, or it announces what is not read.
    """
    head = _HEAD.match(text)
    if head is None and _COUNTS.match(text):
        return b"", 0
    if head is None:
        raise DataError("expected OFF and the counts of vertices and faces at its head; export the mesh anew")
    if head[2] or head[3]:
        name = "OFF BINARY" if head[3] else f"{head[2].decode()}OFF (4 or n numbers a vertex)"
        raise DataError(f"expected vertices x y z as text, got {name}; export the mesh as plain OFF", field="header")
    return head[1] or b"", head.end()


def _rows(found: Numbers, verts: int, faces: int, more: int) -> np.ndarray:
    """The positions [verts + faces] at which vertices and faces start: a line each or, in plain files, without lines.

    Args:
        more: numbers at least of a vertex behind its coordinates; 0 for plain files.

    Raises:
        DataError: there are fewer, or one is too short.
    """
    lines, per_line = found.lines[1:], found.per_line[1:]
    if len(lines) >= verts + faces:
        rows, length = lines[: verts + faces], per_line[: verts + faces].copy()
        needed = np.full(len(rows), 3.0 + more)
        needed[verts:] = 1 + found.values[rows[verts:]]
        wrong = (length < needed) | ~(needed >= 1)
        if not wrong.any():
            return rows
        number = int(wrong.argmax())
        what, place = ("vertex", number) if number < verts else ("face", number - verts)
        if more:
            raise DataError(
                f"expected {needed[number]:g} numbers, got {length[number]}; export the mesh anew",
                field=f"{what} {place}",
            )
    elif more:
        raise DataError(_short(verts, faces, len(lines)), field="header")
    return _rows_without_lines(found, verts, faces)


def _rows_without_lines(found: Numbers, verts: int, faces: int) -> np.ndarray:
    """The same for vertices of three numbers and faces without colours that follow each other anyhow."""
    start = int(found.lines[1]) if len(found.lines) > 1 else 3
    total = len(found.values)
    rows = start + 3 * np.arange(verts)
    position = start + 3 * verts
    places = []
    for _ in range(faces):
        if position >= total or not 0 <= found.values[position] <= total:
            raise DataError(_short(verts, faces, len(found.lines) - 1), field="header")
        places.append(position)
        position += 1 + int(found.values[position])
    if position != total or start + 3 * verts > total:
        raise DataError(_short(verts, faces, len(found.lines) - 1), field="header")
    return np.concatenate([rows, np.array(places, np.int64)])


def _short(verts: int, faces: int, lines: int) -> str:
    what = f"expected {counted(verts, 'vertex', 'vertices')} and {counted(faces, 'face')}, a line each"
    return f"{what}, got {counted(lines, 'line', 'lines')} that are not these; export the mesh anew"


def _behind(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The ``sizes[k]`` numbers behind each of the positions ``starts[k]``, one after the other."""
    step = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    found: np.ndarray = values[np.repeat(starts + 1, sizes) + step]
    return found
