"""Readers of mesh files: from the bytes of a foreign file to checked triangles (``read_mesh_file``).

Counts in a header are compared with the limits and the file's length before memory is allocated, since trimesh trusts
them. PLY, OFF and GLB are parsed by trimesh. OBJ is parsed here, because trimesh reads index 0 as index 1 and counts
negative indices from the end of the file.
"""

from __future__ import annotations

import io
import re
import zipfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import trimesh

from shape3d_amodal.errors import DataError
from shape3d_amodal.files.archives import ZIP_ERRORS, ArraySpec, check_zip, read_npy_header
from shape3d_amodal.files.safe_io import parse_json, read_bytes, reason

MAX_MESH_BYTES = 256 * 1024**2
MAX_VERTICES = 4_000_000
MAX_FACES = 8_000_000
MAX_GLB_DEPTH = 64
MAX_OBJ_LINE = 1_000_000
"""Longest line of an OBJ, in characters."""

OPEN13_SCALE = 32767.0
OPEN13 = {
    "v": ArraySpec(("i2",), (None, 3), MAX_VERTICES),
    "f": ArraySpec(("u1", "u2", "u4"), (None, 3), MAX_FACES),
    "rgb": ArraySpec(("u1",), (None, 3), MAX_FACES),
}
"""Arrays of an open13 .npz: coordinates x 32767, triangles, optional face colours."""

_ITEM_BYTES = {"SCALAR": 4, "VEC2": 8, "VEC3": 12, "VEC4": 16, "MAT2": 16, "MAT3": 36, "MAT4": 64}

Triangles: TypeAlias = "tuple[np.ndarray, np.ndarray, np.ndarray | None]"


@dataclass(frozen=True)
class MeshData:
    """A triangle mesh in the frame and unit of its file.

    Attributes:
        verts: [V,3] float64, finite.
        faces: [F,3] int64 in 0..V-1, at least one.
        colors: [F,3] uint8, or None where the file has no colours of its own (materials and textures are not read).
    """

    verts: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None = None


def read_mesh_file(path: str | Path) -> MeshData:
    """The triangle mesh of an .obj, .ply, .off, .glb or .npz file.

    Scene graphs are flattened with their transforms; vertices are neither merged nor reordered. Only ``path`` is
    opened: no material library, texture or external buffer.

    Raises:
        DataError: it cannot be read, has another format, is too large or damaged, has no face, a coordinate that is not
            finite, or an index that is out of range.
    """
    suffix = Path(path).suffix
    parse = PARSERS.get(suffix.lower())
    if parse is None:
        raise DataError(f"expected a mesh file ({', '.join(PARSERS)}), got {suffix[:20]!r}; convert it", file=path)
    data = read_bytes(path, MAX_MESH_BYTES)
    try:
        return checked(*parse(data))
    except DataError as error:
        raise DataError(error.problem, file=path, field=error.field) from error


def checked(verts: np.ndarray, faces: np.ndarray, colors: np.ndarray | None) -> MeshData:
    """The mesh, after its sizes, coordinates and indices are checked."""
    _cap(len(verts), MAX_VERTICES, "vertices")
    _cap(len(faces), MAX_FACES, "faces")
    if len(faces) == 0:
        raise DataError("expected at least one face, got none; export the mesh as triangles", field="faces")
    if verts.ndim != 2 or verts.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise DataError(f"expected vertices [V,3] and faces [F,3], got {list(verts.shape)} and {list(faces.shape)}")
    verts = np.ascontiguousarray(verts, dtype=np.float64)
    faces = np.ascontiguousarray(faces, dtype=np.int64)
    if not np.isfinite(verts).all():
        raise DataError("expected finite coordinates, got NaN or infinity; repair the mesh", field="vertices")
    if faces.min() < 0 or faces.max() >= len(verts):
        problem = f"expected vertex indices from 0 to {len(verts) - 1}, got {faces.min()} to {faces.max()}"
        raise DataError(f"{problem}; repair the mesh", field="faces")
    return MeshData(verts, faces, colors)


def parse_obj(data: bytes) -> Triangles:
    """Wavefront OBJ: only ``v`` and ``f`` lines; polygons become triangle fans, negative indices count back."""
    _cap(data.count(b"\nv "), MAX_VERTICES, "vertices")  # a fast check before parsing
    _cap(data.count(b"\nf "), MAX_FACES, "faces")
    verts, faces = array("d"), array("q")
    for number, line in _obj_lines(data):
        key, _, rest = line.lstrip().replace("\t", " ").partition(" ")
        if key not in ("v", "f"):
            continue
        try:
            values = rest.partition("#")[0].split()
            if key == "v":
                x, y, z = values[:3]
                verts.extend((float(x), float(y), float(z)))
            else:
                first, *others = _obj_corners(values, len(verts) // 3)
                for second, third in pairwise(others):
                    faces.extend((first, second, third))
        except ValueError as error:
            problem = f"not a valid '{key}' line ({reason(error)}); repair the mesh"
            raise DataError(problem, field=f"line {number}") from error
        _cap(len(verts) // 3, MAX_VERTICES, "vertices")
        _cap(len(faces) // 3, MAX_FACES, "faces")
    return np.array(verts).reshape(-1, 3), np.array(faces).reshape(-1, 3), None


def parse_ply(data: bytes) -> Triangles:
    """Stanford PLY, ASCII or binary, by trimesh; vertex colours become face colours."""
    stated = _ply_counts(data)
    return _complete(_flatten(_trimesh(data, "ply", fix_texture=False)), stated["vertex"], stated["face"])


def parse_off(data: bytes) -> Triangles:
    """Object File Format, by trimesh; colours are not read."""
    stated = re.match(rb"\s*C?OFF\s*(\d{1,12})\s+(\d{1,12})\b", re.sub(rb"#[^\n]*", b"", data[:100_000]))
    if stated is None:
        raise DataError("expected OFF and the counts of vertices and faces at its head; export the mesh anew")
    verts, faces = (_fitting(int(count), data, "header") for count in stated.groups())
    return _complete(_flatten(_trimesh(data, "off")), verts, faces)


def parse_glb(data: bytes) -> Triangles:
    """Binary glTF 2.0, by trimesh: all triangles of its scene, without materials."""
    _check_glb(data)
    return _flatten(_trimesh(data, "glb", skip_materials=True))


def parse_npz(data: bytes) -> Triangles:
    """The open13 layout (see ``OPEN13``); pickled arrays are refused."""
    arrays: dict[str, np.ndarray] = {}
    check_zip(io.BytesIO(data))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for key in OPEN13.keys() & {name.removesuffix(".npy") for name in archive.namelist()}:
                with archive.open(f"{key}.npy") as entry:
                    arrays[key] = _npy(entry, key)
    except ZIP_ERRORS as error:
        raise DataError(f"damaged .npz file ({reason(error)}); replace it") from error
    if missing := {"v", "f"} - set(arrays):
        raise DataError(f"expected arrays v and f, {' and '.join(sorted(missing))} is missing; see the open13 layout")
    colors = arrays.get("rgb")
    if colors is not None and len(colors) != len(arrays["f"]):
        raise DataError(f"expected a colour for each of {len(arrays['f'])} faces, got {len(colors)}", field="rgb")
    return arrays["v"] / OPEN13_SCALE, arrays["f"].astype(np.int64), colors


PARSERS = {".obj": parse_obj, ".ply": parse_ply, ".off": parse_off, ".glb": parse_glb, ".npz": parse_npz}
"""Reader of the bytes of each kind of file."""


def _obj_lines(data: bytes) -> Iterator[tuple[int, str]]:
    """The lines with their numbers; a line that ends with a backslash is joined with the next."""
    stream = io.TextIOWrapper(io.BytesIO(data), "utf-8", errors="replace")
    parts: list[str] = []
    length = 0
    for number, line in enumerate(iter(partial(stream.readline, MAX_OBJ_LINE), ""), start=1):
        length += len(line)
        if length >= MAX_OBJ_LINE:
            problem = f"expected lines of less than {MAX_OBJ_LINE} signs, got a longer one; export the mesh anew"
            raise DataError(problem, field=f"line {number}")
        if line.endswith("\\\n"):
            parts.append(line[:-2])
            continue
        yield number, " ".join((*parts, line))
        parts, length = [], 0
    yield 0, " ".join(parts)


def _obj_corners(values: list[str], verts: int) -> list[int]:
    """0-based vertex indices of corners such as ``7``, ``7/1/3`` or ``-1//2``, where ``verts`` vertices came before."""
    corners = [int(value.partition("/")[0]) for value in values]
    if len(corners) < 3 or 0 in corners or min(corners) < -verts or max(corners) > MAX_VERTICES:
        raise ValueError("expected 3 or more indices, from 1 up or back from -1")
    return [corner - 1 if corner > 0 else verts + corner for corner in corners]


def _npy(entry: IO[bytes], key: str) -> np.ndarray:
    """The array [N,3] of an archive's ``entry``, checked against ``OPEN13`` and not read beyond its limit."""
    spec = OPEN13[key]
    limit = spec.max_rows * 3 * 4 + 4096
    content = entry.read(limit + 1)
    if len(content) > limit:
        raise DataError(f"expected at most {spec.max_rows} rows, got more; simplify the mesh", field=key)
    stream = io.BytesIO(content)
    shape, dtype = read_npy_header(stream, spec, key)
    body = content[stream.tell() :]
    if len(body) != shape[0] * 3 * dtype.itemsize:
        raise DataError(f"expected {shape[0]} rows as its header says, got {len(body)} bytes; replace it", field=key)
    return np.frombuffer(body, dtype=dtype).reshape(-1, 3)


def _ply_counts(data: bytes) -> dict[str, int]:
    """Number of elements in the header, by name."""
    header, found, _ = data[:100_000].partition(b"end_header")
    if not header.startswith(b"ply") or not found:
        raise DataError("expected a PLY header that ends with end_header; export the mesh anew")
    counts = {"vertex": 0, "face": 0}
    for line in header.decode("latin-1").splitlines():
        if line.split()[:1] == ["element"]:
            stated = re.fullmatch(r"\s*element\s+(\w+)\s+(\d{1,12})\s*", line)
            if stated is None:
                raise DataError(f"expected a name and a count, got {line[:40]!r}; export the mesh anew", field="header")
            counts[stated[1]] = _fitting(int(stated[2]), data, f"element {stated[1]}")
    if extra := {name for name, count in counts.items() if count} - {"vertex", "face"}:
        problem = f"expected vertices and faces alone, got also {min(extra)}; export the faces only"
        raise DataError(problem, field="header")
    return counts


def _fitting(count: int, data: bytes, field: str) -> int:
    """``count``, refused if so many elements of one byte or more do not fit into the file."""
    if count > len(data):
        raise DataError(f"expected counts that fit {len(data)} bytes, got {count}; export the mesh anew", field=field)
    return count


def _complete(mesh: Triangles, verts: int, faces: int) -> Triangles:
    """``mesh``, refused if trimesh silently left out elements that the header lists."""
    if faces and (len(mesh[0]) != verts or len(mesh[1]) < faces):
        problem = f"expected {verts} vertices and {faces} faces, got {len(mesh[0])} and {len(mesh[1])}"
        raise DataError(f"{problem}; export the mesh anew", field="header")
    return mesh


def _check_glb(data: bytes) -> None:
    """Compare the sizes in a GLB with the file's length, and the depth of its node tree with the limit."""
    if len(data) < 20 or data[:4] != b"glTF" or data[16:20] != b"JSON":
        raise DataError("expected a binary glTF 2.0 file; export the mesh anew")
    if int.from_bytes(data[8:12], "little") != len(data):
        raise DataError(f"expected the length that its header states, got {len(data)} bytes; replace the file")
    length = int.from_bytes(data[12:16], "little")
    gltf = parse_json(data[20 : 20 + length].rstrip(b"\0 "), file=None)
    try:
        accessors = gltf.get("accessors", [])
        plain = all("bufferView" in accessor and "sparse" not in accessor for accessor in accessors)
        inside = not any("uri" in buffer for buffer in gltf.get("buffers", []))
        views = sum(_count(view["byteLength"]) for view in gltf.get("bufferViews", []))
        items = sum(_count(item["count"]) * _ITEM_BYTES.get(item["type"], 4) for item in accessors)
        depth = _tree_depth([node.get("children", []) for node in gltf.get("nodes", [])])
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"damaged glTF structure ({reason(error)}); export the mesh anew") from error
    if not plain or not inside:
        problem = "expected plain arrays inside the file, got outside, sparse or compressed ones"
        raise DataError(f"{problem}; export it as one uncompressed file", field="buffers")
    if views > len(data) or items > 4 * len(data):  # arrays may be shared, and all count 4 bytes a number
        raise DataError("its arrays are larger than the file; export the mesh anew", field="accessors")
    if depth > MAX_GLB_DEPTH:
        problem = f"expected a tree of nodes of at most {MAX_GLB_DEPTH} levels; flatten the scene"
        raise DataError(problem, field="nodes")


def _tree_depth(children: list[list[int]]) -> int:
    """Levels of a forest given as child indices; above the limit if a node has two parents or is part of a cycle."""
    parents = [0] * len(children)
    for child in (child for row in children for child in row):
        parents[child] += 1
    if max(parents, default=0) > 1:
        return MAX_GLB_DEPTH + 1
    level = [node for node, count in enumerate(parents) if count == 0]
    depth = reached = 0
    while level and depth <= MAX_GLB_DEPTH:
        depth += 1
        reached += len(level)
        level = [child for node in level for child in children[node]]
    return depth if reached == len(children) else MAX_GLB_DEPTH + 1


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("a count is no integer of at least 0")
    return value


def _trimesh(data: bytes, kind: str, **options: Any) -> trimesh.Scene:
    """The scene that trimesh reads from ``data``; without a resolver it cannot open other files."""
    try:
        return trimesh.load_scene(io.BytesIO(data), file_type=kind, process=False, **options)
    except Exception as error:  # trimesh's parsers raise anything on damaged files
        raise DataError(f"damaged .{kind} file ({reason(error)}); export the mesh anew") from error


def _flatten(scene: trimesh.Scene) -> Triangles:
    """All meshes of ``scene`` at their places, as one mesh; with colours only if every mesh has them."""
    verts: list[np.ndarray] = []
    faces: list[np.ndarray] = []
    colors: list[np.ndarray] = []
    total = total_faces = 0
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if not isinstance(mesh, trimesh.Trimesh):
            continue
        corners = np.asarray(mesh.faces, dtype=np.int64)
        turned = np.linalg.det(transform[:3, :3]) < 0  # a mirror turns faces inside out
        faces.append((corners[:, ::-1] if turned else corners) + total)
        verts.append(mesh.vertices @ transform[:3, :3].T + transform[:3, 3])
        total += len(mesh.vertices)
        total_faces += len(corners)
        _cap(total, MAX_VERTICES, "vertices")
        _cap(total_faces, MAX_FACES, "faces")
        if len(corners) and not 0 <= corners.min() <= corners.max() < len(mesh.vertices):
            raise DataError(f"expected vertex indices below {len(mesh.vertices)}; repair the mesh", field="faces")
        if mesh.visual.kind in ("vertex", "face"):
            colors.append(np.asarray(mesh.visual.face_colors, dtype=np.uint8)[:, :3])
    if not faces:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64), None
    colored = np.concatenate(colors) if len(colors) == len(faces) else None
    return np.concatenate(verts), np.concatenate(faces), colored


def _cap(count: int, limit: int, field: str) -> None:
    if count > limit:
        raise DataError(f"expected at most {limit} {field}, got {count}; simplify the mesh", field=field)
