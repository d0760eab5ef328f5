"""What pose scores need of a CAD model, in the coordinates of its own file: points, diameter and symmetries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.bop_models import MAX_STEP, MODELS_INFO, ModelInfo, read_models_info
from shape3d_amodal.meshes.parsers import read_mesh_file
from shape3d_amodal.meshes.symmetries import Motions, symmetry_motions

_BLOCK = 1000
_BOP_NAME = re.compile(r"obj_([0-9]{6})[.]\w+")


@dataclass(frozen=True, eq=False, repr=False)
class PoseModel(ArrayFields):
    """A CAD model as poses mean it.

    Attributes:
        points: [V,3] float64, its vertices in the coordinates of its file.
        diameter: the largest distance of two of them.
        symmetries: motions after which it looks the same, the first the one that moves nothing.
    """

    points: NDArray[np.float64]
    diameter: float
    symmetries: Motions

    @property
    def is_symmetric(self) -> bool:
        return len(self.symmetries) > 1


def read_pose_model(file: Path) -> PoseModel:
    """The model in ``file``.

    Diameter and symmetries are those of ``models_info.json`` in its folder, where the file is named as BOP names it
    (``obj_000001.ply``) and stands there. Otherwise the symmetries are found from the surface (``meshes.symmetries``).

    Raises:
        DataError: a file cannot be used.
    """
    data = read_mesh_file(file)
    points = data.verts[np.unique(data.faces)]
    info = _listed(file)
    if info is not None:
        return PoseModel(points, info.diameter, info.motions())
    diameter = _diameter(points)
    if not diameter > 0:
        raise DataError("expected a mesh with an extent, all its vertices coincide", file=file)
    return PoseModel(points, diameter, symmetry_motions(data.verts, data.faces, step_deg=360 * MAX_STEP / np.pi))


def _listed(file: Path) -> ModelInfo | None:
    """What ``models_info.json`` beside ``file`` says of it, if anything."""
    name, listing = _BOP_NAME.fullmatch(file.name), file.parent / MODELS_INFO
    return read_models_info(listing).get(int(name[1])) if name and listing.is_file() else None


def _diameter(points: NDArray[np.float64]) -> float:
    """The largest distance of two of ``points`` [V,3]."""
    if len(points) > _BLOCK:  # it is that of two corners of the hull; QJ copes with points in one plane
        points = points[ConvexHull(points, qhull_options="QJ").vertices]
    return max(float(cdist(points[i : i + _BLOCK], points).max()) for i in range(0, len(points), _BLOCK))
