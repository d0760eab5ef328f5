"""Stanford PLY, as text or binary of either byte order."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.formats.mesh_data import MeshData, cap_faces, cap_vertices, check_indices, fitting
from shape3d_amodal.meshes.formats.ply_elements import (
    BinaryRows,
    Columns,
    Element,
    ListColumn,
    Property,
    TextRows,
    integers,
)
from shape3d_amodal.meshes.formats.text import numbers, without_mark
from shape3d_amodal.meshes.formats.triangulation.polygons import triangulate
from shape3d_amodal.meshes.formats.triangulation.strips import strip_triangles

_MAX_HEADER = 1_000_000
_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8", "int64": "i8", "uint64": "u8",
}  # fmt: skip
_READ = ("vertex", "face", "tristrips")
_INDICES = ("vertex_indices", "vertex_index")
_LINE_END = re.compile(rb"\r\n|\n|\r")


def parse_ply(data: bytes) -> MeshData:
    """Vertices, polygons, triangle strips; colours of faces, or else of vertices, become face colours."""
    data = without_mark(data)
    kind, elements, body = _header(data)
    wanted = [k for k, element in enumerate(elements) if element.name in _READ and element.rows]
    found: dict[str, Columns] = {}
    rows: TextRows | BinaryRows
    if kind == "ascii":
        rows = TextRows(numbers(data[body:], "data"))
    else:
        rows = BinaryRows(data[body:], "<" if kind == "binary_little_endian" else ">")
    read = max(wanted, default=-1) + 1
    for element in elements[:read]:
        found[element.name] = rows.read(element)
    behind = rows.behind(elements[read:])
    left_out = [one for one in elements if one.name not in _READ and one.rows]
    notes = tuple(f"{one.rows} of the element {one.name[:40]!r} left out" for one in left_out)
    if behind:
        notes += (f"{behind} behind the last row left out",)
    return _mesh(found, notes)


def _mesh(found: dict[str, Columns], notes: tuple[str, ...]) -> MeshData:
    vertex = found.get("vertex", {})
    if vertex and not {"x", "y", "z"} <= {name for name, column in vertex.items() if isinstance(column, np.ndarray)}:
        raise DataError("expected properties x, y and z of the vertices; export the mesh anew", field="header")
    verts = np.stack([np.asarray(vertex[axis], np.float64) for axis in "xyz"], axis=1) if vertex else np.zeros((0, 3))
    face = found.get("face", {})
    lists = _indices(face, "face") if face else ListColumn(np.zeros(0, np.int64), np.zeros(0, np.int64))
    cut = triangulate(verts, integers(lists.values, "faces"), lists.sizes)
    faces = cut.faces
    colors = _colors(face)
    if colors is not None:
        colors = colors[cut.polygon]
    shades = _colors(vertex)
    if shades is not None:
        shades = cut.extended(shades)
    if "tristrips" in found:
        strips = _indices(found["tristrips"], "tristrips")
        values = integers(strips.values, "tristrips")
        check_indices(values[values >= 0], len(verts))
        more = strip_triangles(values, strips.sizes)
        faces = np.concatenate([faces, more])
        colors = None if len(more) else colors
    if colors is None and shades is not None and len(faces):
        colors = shades[faces].mean(axis=1).astype(np.uint8)
    return MeshData(cut.extended(verts), faces, colors, (*cut.notes, *notes))


def _indices(columns: Columns, element: str) -> ListColumn:
    """The list of vertex indices of an element."""
    names = [name for name in _INDICES if isinstance(columns.get(name), ListColumn)]
    lists = names or [name for name, column in columns.items() if isinstance(column, ListColumn)]
    if not names and len(lists) != 1:
        problem = f"expected a list vertex_indices of the element {element}, there is none; export the mesh anew"
        raise DataError(problem, field="header")
    column = columns[lists[0]]
    assert isinstance(column, ListColumn)
    return column


def _colors(columns: Columns) -> np.ndarray | None:
    """Colours [N,3] uint8 of an element: bytes as they are, 16 bits by their high byte, floats from 0 to 1."""
    channels = [columns.get(name) for name in ("red", "green", "blue")]
    if any(not isinstance(channel, np.ndarray) for channel in channels):
        return None
    return np.stack([_as_bytes(np.asarray(channel)) for channel in channels], axis=1)


def _as_bytes(channel: np.ndarray) -> np.ndarray:
    if channel.dtype.kind == "f":
        channel = np.clip(np.nan_to_num(channel, posinf=0.0, neginf=0.0) * 255.0, 0.0, 255.0).round()
    elif channel.dtype.itemsize == 2 and channel.dtype.kind == "u":
        channel = channel >> 8
    return channel.astype(np.uint8)


def _header(data: bytes) -> tuple[str, tuple[Element, ...], int]:
    """The format, the elements and where the body starts."""
    kind = ""
    elements: list[tuple[str, int, list[Property]]] = []
    lines = _header_lines(data)
    if next(lines, ("", 0))[0].rstrip(" \t") != "ply":
        raise DataError("expected a PLY header that starts with ply; export the mesh anew", field="header")
    for line, position in lines:
        words = line.split()
        if words == ["end_header"]:
            if kind not in ("ascii", "binary_little_endian", "binary_big_endian"):
                problem = f"expected the format ascii, binary_little_endian or binary_big_endian, got {kind[:30]!r}"
                raise DataError(f"{problem}; export the mesh anew", field="header")
            _refuse_repeated("element", [name for name, _, _ in elements])
            for name, _, columns in elements:
                _refuse_repeated(f"property of {name[:20]}", [column.name for column in columns])
            return kind, tuple(Element(name, rows, tuple(columns)) for name, rows, columns in elements), position
        if words[:1] == ["format"] and len(words) > 1:
            kind = words[1]
        elif words[:1] == ["element"]:
            elements.append(_element(words, data))
        elif words[:1] == ["property"]:
            if not elements:
                raise DataError(f"expected an element before {line[:40]!r}; export the mesh anew", field="header")
            elements[-1][2].append(_property(words))
    raise DataError("expected a PLY header that ends with end_header; export the mesh anew", field="header")


def _header_lines(data: bytes) -> Iterator[tuple[str, int]]:
    """The lines at the head of a file, each with the position behind it. They may end in several ways."""
    position, end = 0, b""
    while found := _LINE_END.search(data, position, _MAX_HEADER):
        if (end, found[0]) != (b"\r", b"\r\n"):  # otherwise \n may be the first byte of a binary body
            end = found[0]
        line = data[position : found.start()].decode("latin-1")
        position = found.start() + len(end)
        yield line, position


def _refuse_repeated(what: str, names: list[str]) -> None:
    repeated = [name for number, name in enumerate(names) if name in names[:number]]
    if repeated:
        problem = f"expected each {what} once, got {repeated[0][:40]!r} more than once; export the mesh anew"
        raise DataError(problem, field="header")


def _element(words: list[str], data: bytes) -> tuple[str, int, list[Property]]:
    if len(words) != 3 or not re.fullmatch(r"\d{1,12}", words[2]):
        raise DataError(
            f"expected a name and a count, got {' '.join(words)[:40]!r}; export the mesh anew", field="header"
        )
    count = fitting(int(words[2]), data, f"element {words[1][:40]}")
    (cap_vertices if words[1] == "vertex" else cap_faces)(count)
    return words[1], count, []


def _property(words: list[str]) -> Property:
    types = words[2:4] if words[1:2] == ["list"] else words[1:2]
    if len(words) != (5 if len(types) == 2 else 3) or any(one not in _TYPES for one in types):
        problem = f"expected a property of a known type, got {' '.join(words)[:60]!r}"
        raise DataError(f"{problem}; export the mesh anew", field="header")
    kinds = [_TYPES[one] for one in types]
    if len(kinds) == 2 and kinds[0][0] == "f":
        raise DataError(f"expected lists that count in integers, got {types[0]}; export the mesh anew", field="header")
    return Property(words[-1], kinds[-1], kinds[0] if len(kinds) == 2 else None)
