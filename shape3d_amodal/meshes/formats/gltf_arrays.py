"""The arrays of a glTF file (accessors), after glTF 2.0 section 3.6 and KHR_mesh_quantization."""

from __future__ import annotations

from typing import Any

import numpy as np

from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.formats.gltf_extensions import COMPRESSED, compressed
from shape3d_amodal.meshes.formats.mesh_data import cap_faces, cap_vertices

_KINDS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


class Arrays:
    """Reads accessors by their number.

    Args:
        gltf: the JSON of the file.
        binary: its binary chunk, which is buffer 0.
    """

    def __init__(self, gltf: dict[str, Any], binary: bytes) -> None:
        self._accessors = gltf.get("accessors", [])
        self._views = gltf.get("bufferViews", [])
        self._buffers = gltf.get("buffers", [])
        self._binary = binary
        self._required = [name for name in COMPRESSED if name in gltf.get("extensionsUsed", [])]

    def count(self, number: int) -> int:
        """How many rows accessor ``number`` says it has."""
        return count_of(entry_of(self._accessors, number)["count"])

    def read(self, number: int, types: tuple[str, ...], what: str) -> np.ndarray:
        """The array [N,width] float64 of accessor ``number``, normalized integers as -1..1 or 0..1.

        Raises:
            DataError: it has another type, lies outside of the file, is compressed or too large.
        """
        accessor = entry_of(self._accessors, number)
        cap_vertices(count_of(accessor["count"]))
        return self._floats(accessor, types, what)

    def integers(self, number: int, what: str) -> np.ndarray:
        """The numbers [N] int64 of the accessor of indices ``number``, with the errors of ``read``."""
        accessor = entry_of(self._accessors, number)
        cap_faces(count_of(accessor["count"]) // 3)
        kind = accessor["componentType"]
        if accessor["type"] != "SCALAR" or _KINDS.get(kind, "<f4")[1] != "u":
            raise DataError("expected unsigned integers; export the mesh anew", field=what)
        values: np.ndarray = self._stored(accessor, what)[:, 0].astype(np.int64)
        return values

    def _floats(self, accessor: dict[str, Any], types: tuple[str, ...], what: str) -> np.ndarray:
        if accessor["type"] not in types:
            problem = f"expected the type {' or '.join(types)}, got {str(accessor['type'])[:20]}"
            raise DataError(f"{problem}; export the mesh anew", field=what)
        stored = self._stored(accessor, what)
        values: np.ndarray = stored.astype(np.float64)
        if accessor.get("normalized", False) and stored.dtype.kind in "iu":
            values = np.maximum(values / np.iinfo(stored.dtype).max, -1.0)
        return values

    def _stored(self, accessor: dict[str, Any], what: str) -> np.ndarray:
        """The array [N,width] as it is stored."""
        kind, width, count = _KINDS[accessor["componentType"]], _WIDTHS[accessor["type"]], count_of(accessor["count"])
        sparse = accessor.get("sparse")
        if accessor.get("bufferView") is not None:
            place = accessor["bufferView"], count_of(accessor.get("byteOffset", 0))
            values = self._table(*place, count, kind, width, what)
        elif sparse is None:
            if self._required:
                raise compressed(self._required[0])
            problem = "expected an array inside the file, there is none; export the mesh as one uncompressed file"
            raise DataError(problem, field=what)
        else:
            values = np.zeros((count, width), kind)
        return values if sparse is None else self._replaced(values, sparse, what)

    def _replaced(self, values: np.ndarray, sparse: dict[str, Any], what: str) -> np.ndarray:
        """``values`` with the rows that ``sparse`` gives."""
        count, at, new = count_of(sparse["count"]), sparse["indices"], sparse["values"]
        place = at["bufferView"], count_of(at.get("byteOffset", 0))
        rows = self._table(*place, count, _KINDS[at["componentType"]], 1, what)[:, 0]
        if len(rows) and (rows.dtype.kind != "u" or rows.max() >= len(values)):
            raise DataError(f"expected sparse indices below {len(values)}; export the mesh anew", field=what)
        place = new["bufferView"], count_of(new.get("byteOffset", 0))
        values = values.copy()
        values[rows] = self._table(*place, count, values.dtype.str, values.shape[1], what)
        return values

    def _table(self, view: int, offset: int, count: int, kind: str, width: int, what: str) -> np.ndarray:
        """``count`` rows of ``width`` numbers from ``offset`` on in a view of the binary chunk."""
        entry = entry_of(self._views, view)
        buffer, start, length = entry["buffer"], count_of(entry.get("byteOffset", 0)), count_of(entry["byteLength"])
        inside = buffer == 0 and "uri" not in entry_of(self._buffers, buffer)
        for codec in (name for name in COMPRESSED if name in entry.get("extensions", {})):
            if not inside or start + length > len(self._binary) or self._is_packed(entry, codec):
                raise compressed(codec)
        if not inside:
            problem = "expected arrays inside the file, got outside ones; export it as one uncompressed file"
            raise DataError(problem, field="buffers")
        item = np.dtype(kind).itemsize * width
        stride = count_of(entry.get("byteStride", item))
        end = offset + (count - 1) * stride + item if count else 0
        if stride < item or end > length or start + length > len(self._binary):
            raise DataError("its arrays are larger than the file; export the mesh anew", field=what)
        strides = (stride, np.dtype(kind).itemsize)
        return np.ndarray((count, width), kind, self._binary, start + offset if count else 0, strides)

    def _is_packed(self, view: dict[str, Any], codec: str) -> bool:
        """Whether the bytes of ``view`` are those that ``codec`` packed, and no plain copy for readers without it."""
        packed = view["extensions"][codec]
        if packed.get("buffer") != view["buffer"]:
            return False
        marked = entry_of(self._buffers, view["buffer"]).get("extensions", {}).get(codec, {}).get("fallback", False)
        start, other = view.get("byteOffset", 0), packed.get("byteOffset", 0)
        apart = start + view["byteLength"] <= other or other + packed["byteLength"] <= start
        return bool(marked) or not apart


def entry_of(entries: list[Any], number: Any) -> dict[str, Any]:
    """The entry ``number`` of a list of the file. Negative numbers name none."""
    if type(number) is not int or not 0 <= number < len(entries):
        raise IndexError(f"there is no entry {str(number)[:20]}")
    entry: dict[str, Any] = entries[number]
    return entry


def count_of(value: Any) -> int:
    """``value``, which must be a count."""
    if type(value) is not int or value < 0:
        raise TypeError("a count is no integer of at least 0")
    return value
