"""Binary glTF 2.0: the container, the nodes of its scene, and the triangles of its meshes. Materials are not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from shape3d_amodal.errors import DataError, counted
from shape3d_amodal.files.safe_io import parse_json, reason
from shape3d_amodal.meshes.formats.gltf_arrays import Arrays, entry_of
from shape3d_amodal.meshes.formats.gltf_extensions import check_required
from shape3d_amodal.meshes.formats.gltf_nodes import placed_meshes
from shape3d_amodal.meshes.formats.mesh_data import MeshData, cap_faces, cap_vertices, check_indices
from shape3d_amodal.meshes.formats.triangulation.strips import fan_triangles, strip_triangles

_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_OTHER_MODES = {0: "points", 1: "lines", 2: "lines", 3: "lines"}

Part = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]
"""Vertices [V,3], triangles [F,3] and colours [F,3] of a mesh in its own frame."""


def parse_glb(data: bytes) -> MeshData:
    """All triangles of the default scene, or else of the first, at their places."""
    gltf, binary = _container(data)
    try:
        check_required(gltf)
        return _scene(gltf, Arrays(gltf, binary))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
        raise DataError(f"damaged glTF structure ({reason(error)}); export the mesh anew") from error


def _container(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary chunk."""
    if len(data) < 20 or data[:4] != b"glTF" or data[16:20] != b"JSON":
        raise DataError("expected a binary glTF 2.0 file; export the mesh anew")
    if int.from_bytes(data[4:8], "little") != 2:
        raise DataError(f"expected glTF 2.0, got version {int.from_bytes(data[4:8], 'little')}; export the mesh anew")
    if (stated := int.from_bytes(data[8:12], "little")) != len(data):
        raise DataError(
            f"expected the length that its header states, {stated} bytes, got {len(data)}; replace the file"
        )
    length = int.from_bytes(data[12:16], "little")
    gltf = parse_json(data[20 : 20 + length].rstrip(b"\0 "), file=None, object_hook=_plain)
    if type(gltf) is not dict:
        raise DataError("expected an object in the JSON of the glTF file; export the mesh anew")
    start = 20 + length
    size, kind = int.from_bytes(data[start : start + 4], "little"), data[start + 4 : start + 8]
    return gltf, data[start + 8 : start + 8 + size] if kind == b"BIN\0" else b""


def _plain(entries: dict[str, Any]) -> dict[str, Any]:
    """An object of the JSON: keys that are null are as good as absent, and 3.0 is an integer."""
    kept = {key: _whole(value) for key, value in entries.items() if value is not None}
    return {key: [*map(_whole, value)] if type(value) is list else value for key, value in kept.items()}


def _whole(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() and abs(value) < 2**53 else value


def _scene(gltf: dict[str, Any], arrays: Arrays) -> MeshData:
    verts: list[np.ndarray] = []
    faces: list[np.ndarray] = []
    colors: list[np.ndarray | None] = []
    left_out: Counter[str] = Counter()
    parts: dict[int, list[Part]] = {}
    total = total_faces = 0
    for mesh, places in placed_meshes(gltf, arrays, left_out):
        if mesh not in parts:
            entry = entry_of(gltf["meshes"], mesh)
            most = _most(entry, arrays)
            cap_vertices(total + most[0])
            cap_faces(total_faces + most[1])
            parts[mesh] = list(_parts(entry, arrays, left_out))
        for points, corners, shades in parts[mesh]:
            cap_vertices(total + len(points) * len(places))
            cap_faces(total_faces + len(corners) * len(places))
            for matrix in places:
                with np.errstate(over="ignore", invalid="ignore"):
                    turned = np.linalg.det(matrix[:3, :3]) < 0  # a mirror turns faces inside out
                    faces.append((corners[:, ::-1] if turned else corners) + total)
                    verts.append(points @ matrix[:3, :3].T + matrix[:3, 3])
                colors.append(shades)
                total += len(points)
                total_faces += len(corners)
    if isinstance(animations := gltf.get("animations"), list) and animations:
        left_out["animation|animations"] += len(animations)
    notes = tuple(_note(what, count) for what, count in left_out.items())
    if not faces:
        return MeshData(np.zeros((0, 3)), np.zeros((0, 3), np.int64), None, notes)
    known = [shades for shades in colors if shades is not None]
    colored = np.concatenate(known) if len(known) == len(colors) else None
    return MeshData(np.concatenate(verts), np.concatenate(faces), colored, notes)


def _note(what: str, count: int) -> str:
    """The note about ``what``: "one|many" of things that are left out, or a text of its own."""
    one, bar, many = what.partition("|")
    return f"{counted(count, one, many)} left out" if bar else what


def _most(mesh: dict[str, Any], arrays: Arrays) -> tuple[int, int]:
    """How many vertices and triangles a mesh may have by the counts of its arrays, which it may name many times."""
    verts: dict[int, int] = {}
    faces = 0
    for primitive in mesh["primitives"]:
        mode, position = primitive.get("mode", _TRIANGLES), primitive.get("attributes", {}).get("POSITION")
        if position is None or mode in _OTHER_MODES:
            continue
        verts[position] = arrays.count(position)
        indices = primitive.get("indices")
        corners = verts[position] if indices is None else arrays.count(indices)
        faces += corners // 3 if mode == _TRIANGLES else corners
    return sum(verts.values()), faces


def _parts(mesh: dict[str, Any], arrays: Arrays, left_out: Counter[str]) -> Iterator[Part]:
    """The triangles of a mesh by their vertices; primitives with the same vertices share them."""
    by_vertices: dict[int, list[dict[str, Any]]] = {}
    for primitive in mesh["primitives"]:
        mode, position = primitive.get("mode", _TRIANGLES), primitive.get("attributes", {}).get("POSITION")
        if position is None:
            left_out["primitive without POSITION|primitives without POSITION"] += 1
        elif mode in _OTHER_MODES:
            left_out[f"primitive of {_OTHER_MODES[mode]}|primitives of {_OTHER_MODES[mode]}"] += 1
        elif mode not in (_TRIANGLES, _STRIP, _FAN):
            raise DataError(f"expected a mode from 0 to 6, got {mode!r:.20}; export the mesh anew", field="mode")
        else:
            by_vertices.setdefault(position, []).append(primitive)
            if primitive.get("targets"):
                left_out["morph targets are not applied"] += 1
    for position, primitives in by_vertices.items():
        points = arrays.read(position, ("VEC3",), "POSITION")
        faces = [_triangles(primitive, len(points), arrays) for primitive in primitives]
        shades = [_shades(one, corners, len(points), arrays) for one, corners in zip(primitives, faces, strict=True)]
        known = [shade for shade in shades if shade is not None]
        yield points, np.concatenate(faces), np.concatenate(known) if len(known) == len(shades) else None


def _triangles(primitive: dict[str, Any], verts: int, arrays: Arrays) -> np.ndarray:
    if (indices := primitive.get("indices")) is None:
        corners = np.arange(verts)
    else:
        corners = arrays.integers(indices, "indices")
        check_indices(corners, verts)
    mode = primitive.get("mode", _TRIANGLES)
    if mode == _STRIP:
        return strip_triangles(corners, np.array([len(corners)]))
    if mode == _FAN:
        return fan_triangles(corners)
    if len(corners) % 3:
        problem = f"expected a multiple of 3 corners for triangles, got {len(corners)}"
        raise DataError(f"{problem}; export the mesh anew", field="indices")
    return corners.reshape(-1, 3)


def _shades(primitive: dict[str, Any], corners: np.ndarray, verts: int, arrays: Arrays) -> np.ndarray | None:
    """The mean colours [F,3] uint8 of the corners of each triangle, where the vertices have colours."""
    if (accessor := primitive["attributes"].get("COLOR_0")) is None:
        return None
    colors = arrays.read(accessor, ("VEC3", "VEC4"), "COLOR_0")[:, :3]
    if len(colors) != verts:
        raise DataError(f"expected {verts} colours, got {len(colors)}; export the mesh anew", field="COLOR_0")
    shades = np.clip(np.nan_to_num(colors) * 255.0, 0.0, 255.0).round().astype(np.uint8)
    faces: np.ndarray = shades[corners].mean(axis=1).astype(np.uint8)
    return faces
