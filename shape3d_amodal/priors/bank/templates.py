"""The silhouettes of a mesh over the viewpoints, in a few sizes, as bits: drawn once and kept on disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.geometry.cameras import rotation
from shape3d_amodal.priors.bank import bits
from shape3d_amodal.priors.bank.keeping import kept_of_mesh
from shape3d_amodal.priors.bank.poses import CX, CY, DISTANCE, POSE, SCALE, MeshTable, U, V
from shape3d_amodal.priors.interface import ViewsName

GRID = 32
"""Side of the grid that templates are placed on, over the side of the object's window."""
SIZES = 10 * 1.13 ** np.arange(13)
"""Lengths of a silhouette's longer side, in samples of that grid."""
_ROWS = 48
"""Rows of a template, at most; as ``SIZES`` end there."""
_FAR = 4.0
"""Distance of the camera, in diagonals of the object, from which templates are drawn."""
_VERSION = 1
"""To be raised when the same mesh gives other templates."""
_SPHERE = 240
"""Directions over the whole sphere: neighbours are about 14 degrees apart."""

RECORD = np.dtype(
    [
        ("middle", np.float32, (2,)),
        ("extent", np.float32),
        ("start", np.int64, (len(SIZES),)),
        ("height", np.int32, (len(SIZES),)),
        ("width", np.int32, (len(SIZES),)),
        ("area", np.int32, (len(SIZES),)),
    ]
)
"""A view of a mesh: the middle of the silhouette's box and the length of its longer side, in units of the object; and
for each of ``SIZES`` its first row in the bits, its rows and columns, and the number of its pixels."""


@dataclass(frozen=True, eq=False, repr=False)
class Views(ArrayFields):
    """``rotation`` [V,3,3] float32, from the object frame to the camera's (x right, y down), and ``rolls`` [R], the
    radians by which the image is turned clockwise beside each."""

    rotation: NDArray[np.float32]
    rolls: NDArray[np.floating[Any]]

    @property
    def turns(self) -> NDArray[np.float64]:
        """[R,3,3], of the image."""
        cosine, sine, zero = np.cos(self.rolls), np.sin(self.rolls), np.zeros(len(self.rolls))
        return np.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, zero + 1], axis=1).reshape(-1, 3, 3)

    @property
    def turned(self) -> NDArray[np.float64]:
        """[V,R,3,3], each rotation with each roll."""
        turned: NDArray[np.float64] = self.turns @ self.rotation[:, None].astype(np.float64)
        return turned


@dataclass(frozen=True, eq=False, repr=False)
class Templates(ArrayFields):
    """One mesh from all views: ``views`` [V] of ``RECORD``, and ``bits`` [rows] uint64, a word a row."""

    views: NDArray[np.void]
    bits: NDArray[np.uint64]


def views_of(name: ViewsName) -> Views:
    """The views of that name."""
    if name == "upright":
        azimuth = np.tile(np.arange(36) * (2 * math.pi / 36), 8)
        elevation = np.repeat(np.radians(np.linspace(-2, 50, 8)), 36)
        return Views(_rotations(azimuth, elevation), np.zeros(1))
    place = (np.arange(_SPHERE) + 0.5) / _SPHERE  # a spiral of equal areas (Fibonacci)
    elevation = np.arcsin(1 - 2 * place)
    azimuth = (math.pi * (1 + math.sqrt(5)) * (np.arange(_SPHERE) + 0.5)) % (2 * math.pi)
    rolls = np.arange(24) * (2 * math.pi / 24)  # a camera that looks down has no level
    if name == "all":
        return Views(_rotations(azimuth, elevation), rolls)
    above = elevation > math.radians(-10)
    return Views(_rotations(azimuth[above], elevation[above]), rolls)


def _rotations(azimuth: NDArray[np.floating[Any]], elevation: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """[V,3,3] of cameras without roll."""
    angles = torch.from_numpy(azimuth.astype(float)), torch.from_numpy(elevation.astype(float))
    left_up = rotation(*angles, torch.zeros(len(azimuth), dtype=torch.float64)).numpy()
    result: NDArray[np.float32] = (left_up * np.array([-1.0, -1.0, 1.0])[:, None]).astype(np.float32)
    return result


def draw_templates(verts: NDArray[np.float32], faces: NDArray[np.int64], views: Views) -> Templates:
    """The templates of one mesh, verts [V,3] in the object frame and faces [F,3]."""
    used = verts[np.unique(faces)]
    seen = np.einsum("rij,vj->rvi", views.rotation, used)
    flat = seen[..., :2] * (_FAR / (_FAR + seen[..., 2:]))
    low, high = flat.min(axis=1), flat.max(axis=1)
    record = np.zeros(len(low), RECORD)
    record["middle"] = (low + high) / 2
    record["extent"] = np.maximum((high - low).max(axis=1), 1e-6)
    size = (high - low)[:, None] / record["extent"][:, None, None] * SIZES[:, None]  # [V,S,2]
    record["width"], record["height"] = np.moveaxis(np.maximum(np.rint(size), 1).astype(np.int32), -1, 0)

    rows = np.zeros((len(low), len(SIZES), POSE), np.float32)
    rows[..., :9] = views.rotation.reshape(-1, 1, 9)
    rows[..., SCALE] = SIZES / record["extent"][:, None]
    rows[..., U] = rows[..., CX] = record["width"] / 2 - rows[..., SCALE] * record["middle"][:, None, 0]
    rows[..., V] = rows[..., CY] = record["height"] / 2 - rows[..., SCALE] * record["middle"][:, None, 1]
    rows[..., DISTANCE], rows[..., POSE - 1] = _FAR, 1
    poses = rows.reshape(-1, POSE)
    drawn = np.empty((len(poses), _ROWS, 1), np.uint64)
    table = MeshTable.of([(verts, faces)])
    grid = np.array([0.5, 0.5, 1], np.float32)
    mesh = np.zeros(len(poses), np.int64)
    bits.draw_all(*table.arrays, mesh, poses, grid, drawn)

    height = record["height"].ravel()
    drawn = drawn[..., 0]
    drawn[np.arange(_ROWS) >= height[:, None]] = 0
    record["area"] = np.bitwise_count(drawn).sum(axis=1).reshape(record["area"].shape)
    record["start"] = (np.cumsum(height) - height).reshape(record["start"].shape)
    return Templates(record, drawn[np.arange(_ROWS) < height[:, None]])


def kept_templates(
    verts: NDArray[np.float32], faces: NDArray[np.int64], name: ViewsName, cache: Path | None
) -> Templates:
    """The templates of a mesh from ``cache``, where they are drawn if they are missing; anew where it is of no use."""

    def make() -> dict[str, NDArray[Any]]:
        drawn = draw_templates(verts, faces, views_of(name))
        return {"views": drawn.views, "bits": drawn.bits}

    return Templates(**kept_of_mesh(f"templates {name} {_VERSION}", ("views", "bits"), verts, faces, make, cache))
