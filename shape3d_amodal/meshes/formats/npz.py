"""The layout of the Open13 meshes: a NumPy archive of quantised coordinates, triangles and colours."""

from __future__ import annotations

import io
import zipfile
from typing import IO

import numpy as np

from shape3d_amodal.errors import DataError
from shape3d_amodal.files.archives import ZIP_ERRORS, ArraySpec, check_zip, read_npy_header
from shape3d_amodal.files.safe_io import reason
from shape3d_amodal.meshes.formats.mesh_data import MAX_FACES, MAX_VERTICES, MeshData

OPEN13_SCALE = 32767.0
OPEN13 = {
    "v": ArraySpec(("i2",), (None, 3), MAX_VERTICES),
    "f": ArraySpec(("u1", "u2", "u4"), (None, 3), MAX_FACES),
    "rgb": ArraySpec(("u1",), (None, 3), MAX_FACES),
}
"""Arrays of an open13 .npz: coordinates x 32767, triangles, optional face colours."""


def parse_npz(data: bytes) -> MeshData:
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
    return MeshData(arrays["v"] / OPEN13_SCALE, arrays["f"].astype(np.int64), colors)


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
