"""The mean shape of a category: the baseline of 3D IoU, which knows nothing of the object but its category.

The solid voxels of all known meshes of the category are averaged in the object frame, each mesh's longest side being
1, and cut at the level of best mean IoU with those same meshes. ``MeanShapes`` makes a mesh of it, which the
shape bank poses: by the viewpoint, size and shift whose silhouette agrees best with the certain pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal.meshes.mesh import Mesh, MeshSource
from shape3d_amodal.meshes.voxels import to_unit_cube, voxels

_LEVELS = 20
"""Number of levels that are tried: 1/20, 2/20 ... 1."""
_INSIDE = 0.52
"""Position of the surface between the centres of an empty (0) and a full cell (1): just inside the full one."""
_GREY = 128


class MeanShapes:
    """A ``MeshSource`` of one mesh for each category, which has the category's name.

    Args:
        source: the known meshes.
    """

    def __init__(self, source: MeshSource) -> None:
        self._source = source
        self._members: dict[str, list[str]] = {}
        for name in source.names:
            self._members.setdefault(source.category(name), []).append(name)
        self._meshes: dict[str, Mesh] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._members))

    def category(self, name: str) -> str:
        return name

    def load(self, name: str) -> Mesh:
        if name not in self._meshes:
            loaded = (self._source.load(member) for member in self._members[name])
            grids = np.stack([voxels(to_unit_cube(mesh.verts), mesh.faces) for mesh in loaded])
            mean, level = mean_shape(grids)
            self._meshes[name] = _surface(mean >= level, name)
        return self._meshes[name]


def mean_shape(grids: NDArray[np.bool_]) -> tuple[NDArray[np.float32], float]:
    """The mean [R,R,R] float32 of grids [M,R,R,R] bool, and the level in 0..1 at which it has the best mean IoU with
    them: the shape is ``mean >= level``."""
    mean = grids.mean(axis=0, dtype=np.float32)
    level = np.floor(mean * _LEVELS + 1e-4).astype(np.int64)  # the highest level that a voxel belongs to
    above = _falling(np.bincount(level.ravel(), minlength=_LEVELS + 1))
    ious = np.zeros(_LEVELS + 1)
    for grid in grids:
        shared = _falling(np.bincount(level[grid], minlength=_LEVELS + 1))
        ious += shared / (above + grid.sum() - shared)
    best = 1 + int(ious[1:].argmax())
    return mean, best / _LEVELS - 1e-4 / _LEVELS


def _falling(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums of ``counts`` from each place to the end."""
    return counts[::-1].cumsum()[::-1]


def _surface(cells: NDArray[np.bool_], category: str) -> Mesh:
    """The surface of cells [R,R,R] (by x, y, z) as a mesh in the object frame."""
    from pytorch3d.ops.marching_cubes import marching_cubes

    padded = torch.from_numpy(np.pad(cells, 1).astype(np.float32))[None]
    verts, faces = marching_cubes(padded, isolevel=_INSIDE, return_local_coords=False)
    points = verts[0].flip(1).numpy()  # PyTorch3D's columns are the grid's last axis first
    points = points - (points.min(axis=0) + points.max(axis=0)) / 2
    points /= np.linalg.norm(np.ptp(points, axis=0))
    triangles = faces[0].numpy().astype(np.int32)
    colors = np.full(triangles.shape, _GREY, np.uint8)
    return Mesh(category, category, points.astype(np.float32), triangles, colors)
