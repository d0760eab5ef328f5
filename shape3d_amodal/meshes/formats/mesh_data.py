"""What every reader of mesh files gives, and the limits that all of them keep."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass

import numpy as np

from shape3d_amodal.errors import DataError

MAX_MESH_BYTES = 256 * 1024**2
MAX_VERTICES = 4_000_000
MAX_FACES = 8_000_000


@dataclass(frozen=True)
class MeshData:
    """A triangle mesh in the frame and unit of its file.

    Attributes:
        verts: [V,3] float64, finite.
        faces: [F,3] int64 in 0..V-1, at least one.
        colors: [F,3] uint8, or None where the file has no colours of its own (materials and textures are not read).
        notes: what of the file was left out or is read in a way that a user may not expect.
    """

    verts: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def cap_vertices(count: int) -> None:
    """Refuse more vertices than ``MAX_VERTICES``."""
    _cap(count, MAX_VERTICES, "vertices")


def cap_faces(count: int) -> None:
    """Refuse more faces than ``MAX_FACES``."""
    _cap(count, MAX_FACES, "faces")


def fitting(count: int, data: Sized, field: str) -> int:
    """``count``, refused if so many elements of one byte or more do not fit into the file ``data``."""
    if count > len(data):
        raise DataError(f"expected counts that fit {len(data)} bytes, got {count}; export the mesh anew", field=field)
    return count


def checked(mesh: MeshData) -> MeshData:
    """``mesh``, after its sizes, coordinates and indices are checked."""
    verts, faces = mesh.verts, mesh.faces
    cap_vertices(len(verts))
    cap_faces(len(faces))
    if len(faces) == 0:
        left_out = f" ({'; '.join(mesh.notes)})" if mesh.notes else ""
        problem = f"expected at least one face, got none{left_out}; export the mesh as triangles"
        raise DataError(problem, field="faces")
    if verts.ndim != 2 or verts.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise DataError(f"expected vertices [V,3] and faces [F,3], got {list(verts.shape)} and {list(faces.shape)}")
    verts = np.ascontiguousarray(verts, dtype=np.float64)
    faces = np.ascontiguousarray(faces, dtype=np.int64)
    check_coordinates(verts)
    check_indices(faces, len(verts))
    return MeshData(verts, faces, mesh.colors, mesh.notes)


def check_coordinates(verts: np.ndarray) -> None:
    """Refuse coordinates that are not finite."""
    if not np.isfinite(verts).all():
        raise DataError("expected finite coordinates, got NaN or infinity; repair the mesh", field="vertices")


def check_indices(corners: np.ndarray, verts: int) -> None:
    """Refuse vertex indices out of 0..verts-1."""
    if len(corners) and (corners.min() < 0 or corners.max() >= verts):
        problem = f"expected vertex indices from 0 to {verts - 1}, got {corners.min()} to {corners.max()}"
        raise DataError(f"{problem}; repair the mesh", field="faces")


def _cap(count: int, limit: int, field: str) -> None:
    if count > limit:
        raise DataError(f"expected at most {limit} {field}, got {count}; simplify the mesh", field=field)
