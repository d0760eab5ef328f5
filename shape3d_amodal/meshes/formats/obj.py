"""Wavefront OBJ. Parsed here, because trimesh reads index 0 as index 1 and counts negative indices from the end."""

from __future__ import annotations

import io
from array import array
from collections import Counter
from collections.abc import Iterator
from functools import partial

import numpy as np

from shape3d_amodal.errors import DataError, counted
from shape3d_amodal.files.safe_io import reason
from shape3d_amodal.meshes.formats.mesh_data import MAX_VERTICES, MeshData, cap_faces, cap_vertices
from shape3d_amodal.meshes.formats.text import without_mark
from shape3d_amodal.meshes.formats.triangulation.polygons import triangulate

MAX_LINE = 1_000_000
"""Longest line, in characters."""

_MAY_GO_ON = {
    *("v", "vt", "vn", "vp", "cstype", "deg", "bmat", "step", "p", "l", "f", "fo", "curv", "curv2", "surf"),
    *("parm", "trim", "hole", "scrv", "sp", "end", "con", "s", "mg", "bevel", "c_interp", "d_interp", "lod"),
    *("ctech", "stech", "bzp", "bsp", "cdc", "cdp", "res"),
}
"""Statements of numbers and fixed words, those of old versions too, which a backslash carries on to the next line.

Behind a name (``o``, ``usemtl``, ``call`` and so on), a word of no known statement or in a comment it is a sign as any.
"""
_LEFT_OUT = {
    "p": "points",
    "l": "lines",
    "curv": "curves",
    "curv2": "curves",
    "surf": "free-form surfaces",
    "bzp": "Bezier patches (bzp)",
    "bsp": "B-spline patches (bsp)",
    "cdc": "Cardinal curves (cdc)",
    "cdp": "Cardinal patches (cdp)",
    "call": "called files (call)",
    "csh": "shell commands (csh)",
}
"""Statements that have or bring in geometry of their own."""


def parse_obj(data: bytes) -> MeshData:
    """Only ``v`` and ``f`` are read; negative indices count back."""
    data = without_mark(data)
    cap_vertices(data.count(b"\nv "))  # a fast check before parsing
    cap_faces(data.count(b"\nf "))
    verts, corners, sizes = array("d"), array("q"), array("q")
    triangles = 0
    left_out: Counter[str] = Counter()
    for number, line in _lines(data):
        key, _, rest = line.lstrip().replace("\t", " ").partition(" ")
        if key not in ("v", "f", "fo"):  # fo is the old name of f
            if key in _LEFT_OUT:
                left_out[_LEFT_OUT[key]] += 1
            continue
        try:
            values = rest.partition("#")[0].split()
            if key == "v":
                x, y, z = values[:3]
                verts.extend((float(x), float(y), float(z)))
            elif len(values) < 3:
                left_out["faces of fewer than 3 corners"] += 1
            else:
                corners.extend(_corners(values, len(verts) // 3))
                sizes.append(len(values))
                triangles += len(values) - 2
        except ValueError as error:
            problem = f"not a valid '{key}' line ({reason(error)}); repair the mesh"
            raise DataError(problem, field=f"line {number}") from error
        cap_vertices(len(verts) // 3)
        cap_faces(triangles)
    points = np.array(verts).reshape(-1, 3)
    found = triangulate(points, np.array(corners, np.int64), np.array(sizes, np.int64))
    others = tuple(
        f"{counted(count, 'statement', 'statements')} of {what} left out" for what, count in left_out.items()
    )
    return MeshData(found.extended(points), found.faces, None, (*found.notes, *others))


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    """The lines with their numbers; a statement that ends with a backslash is joined with the next line."""
    stream = io.TextIOWrapper(io.BytesIO(data), "utf-8", errors="replace")
    parts: list[str] = []
    length = 0
    for number, line in enumerate(iter(partial(stream.readline, MAX_LINE), ""), start=1):
        length += len(line)
        if length >= MAX_LINE:
            problem = f"expected lines of less than {MAX_LINE} signs, got a longer one; export the mesh anew"
            raise DataError(problem, field=f"line {number}")
        text = line.rstrip()
        if text.endswith("\\") and _may_go_on(parts[0] if parts else text[:-1], line):
            parts.append(text[:-1])
            continue
        yield number, " ".join((*parts, line))
        parts, length = [], 0
    yield 0, " ".join(parts)


def _may_go_on(first: str, line: str) -> bool:
    """Whether a backslash at the end of ``line`` joins the next one, in a statement that begins with ``first``."""
    words = first.split(maxsplit=1)
    return "#" not in line and bool(words) and words[0] in _MAY_GO_ON


def _corners(values: list[str], verts: int) -> list[int]:
    """0-based vertex indices of corners such as ``7``, ``7/1/3`` or ``-1//2``, where ``verts`` vertices came before."""
    corners = [int(value.partition("/")[0]) for value in values]
    if 0 in corners or min(corners) < -verts or max(corners) > MAX_VERTICES:
        raise ValueError("expected indices from 1 up or back from -1")
    return [corner - 1 if corner > 0 else verts + corner for corner in corners]
