"""From the bytes of a foreign file to checked triangles (``read_mesh_file``).

The readers of ``formats`` compare counts in a header with the limits and the file's length before memory is allocated.
"""

from __future__ import annotations

from pathlib import Path

from shape3d_amodal.errors import DataError
from shape3d_amodal.files.safe_io import read_bytes, reason
from shape3d_amodal.meshes.formats.glb import parse_glb
from shape3d_amodal.meshes.formats.mesh_data import MAX_MESH_BYTES, MeshData, checked
from shape3d_amodal.meshes.formats.npz import parse_npz
from shape3d_amodal.meshes.formats.obj import parse_obj
from shape3d_amodal.meshes.formats.off import parse_off
from shape3d_amodal.meshes.formats.ply import parse_ply

PARSERS = {".obj": parse_obj, ".ply": parse_ply, ".off": parse_off, ".glb": parse_glb, ".npz": parse_npz}
"""Reader of the bytes of each kind of file."""


_LFS, _GZIP, _ZIP = b"version https://git-lfs.github.com/", b"\x1f\x8b", b"PK\x03\x04"


def read_mesh_file(path: str | Path) -> MeshData:
    """The triangle mesh of an .obj, .ply, .off, .glb or .npz file.

    Scene graphs are flattened with their transforms; vertices are neither merged nor reordered. Polygons are cut into
    triangles (``formats.triangulation``). Only ``path`` is opened: no material library, texture or external buffer.

    Raises:
        DataError: it cannot be read, has another format, is too large or damaged, has no face, a coordinate that is not
            finite, or an index that is out of range.
    """
    suffix = Path(path).suffix
    parse = PARSERS.get(suffix.lower())
    if parse is None:
        raise DataError(f"expected a mesh file ({', '.join(PARSERS)}), got {suffix[:20]!r}; convert it", file=path)
    data = read_bytes(path, MAX_MESH_BYTES)
    if other := _no_mesh(data, suffix.lower()):
        raise DataError(f"expected a mesh, got {other}", file=path)
    try:
        return checked(parse(data))
    except DataError as error:
        raise DataError(error.problem, file=path, field=error.field) from error
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:  # of numpy, on damage that nobody thought of
        raise DataError(f"damaged {suffix} file ({reason(error)}); export the mesh anew", file=path) from error


def _no_mesh(data: bytes, suffix: str) -> str | None:
    """What often comes under the name of a mesh, and what to do; None where ``data`` is none of it."""
    if not data:
        return "an empty file; replace it"
    if data.startswith(_LFS):
        return "a Git LFS pointer; run git lfs pull"
    if data.startswith(_GZIP):
        return "a gzip file; unpack it"
    return "a zip file; unpack it" if data.startswith(_ZIP) and suffix != ".npz" else None
